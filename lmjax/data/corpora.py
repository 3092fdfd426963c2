"""Corpora: three splits of one text as token ids, with the vocabulary of the first."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmjax.data.text import Vocabulary, build_vocabulary, read_lines, tokenize

__all__ = ["Corpus", "directory", "stdlib"]

LAYOUTS = ("{}.txt", "ptb.{}.txt", "wiki.{}.tokens")
NOT_PROSE = {"site-packages", "dist-packages", "test", "tests", "idle_test"}  # folders left out


class Corpus(NamedTuple):
    """A text in three splits of token ids; the arrays lie on disk, read as they are needed."""

    name: str
    vocab: Vocabulary
    train: np.ndarray  # int32 [N]
    valid: np.ndarray  # int32 [N]
    test: np.ndarray  # int32 [N]
    sha256: str  # of the three files' bytes, in this order


def directory(
    path, *, level: str = "word", min_count: int = 1, vocab: Vocabulary | None = None
) -> Corpus:
    """Read a directory that holds `train`, `valid` and `test` in one of three layouts.

    `train.txt`, `ptb.train.txt` or `wiki.train.tokens`, and so on. Files are read line by line and
    ids are kept on disk: neither needs to fit in memory.

    Args:
        path: the directory.
        level: "word" or "char", see `tokenize`.
        min_count: symbols seen less often in the training split become `<unk>`.
        vocab: use this vocabulary in place of one counted on the training split.

    Raises:
        ValueError: no layout fits, a file is not UTF-8, or a split is empty.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"corpus: {path} is not a directory")
    found = [
        layout
        for layout in LAYOUTS
        if all((path / layout.format(s)).is_file() for s in ("train", "valid", "test"))
    ]
    if not found:
        layouts = " or ".join(layout.format("{train,valid,test}") for layout in LAYOUTS)
        raise ValueError(f"corpus: {path} holds no {layouts}")
    files = [path / found[0].format(split) for split in ("train", "valid", "test")]
    for file in files:
        if not file.stat().st_size:
            raise ValueError(f"corpus: {file} is empty")
    if vocab is None:
        vocab = build_vocabulary(read_lines(files[0]), level=level, min_count=min_count)
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    train, valid, test = (encode_file(vocab, file) for file in files)
    return Corpus(path.resolve().name, vocab, train, valid, test, digest.hexdigest())


def encode_file(vocab: Vocabulary, path) -> np.ndarray:
    """Return the ids of a file's tokens as int32 `[N]`, kept in an unnamed temporary file."""
    get, unk = vocab.index.get, vocab.unk
    with tempfile.TemporaryFile() as ids:
        for line in read_lines(path):
            tokens = [get(token, unk) for token in tokenize(line, vocab.level)]
            np.array(tokens, np.int32).tofile(ids)
        return np.memmap(ids, np.int32, "r")


def stdlib(*, vocab: Vocabulary | None = None) -> Corpus:
    """Return the corpus made of the English prose that every CPython ships.

    The reference topics of `pydoc` and the docstrings of the standard library, lower-cased, one
    paragraph a line, each paragraph once; a module or topic falls whole into one split, by the hash
    of its name (train 80 %, valid 10 %, test 10 %). The text differs between Python versions: name
    and sha256 say which it is. Made in about ten seconds on first use, then kept in a cache
    directory (`$LMJAX_CACHE`, or `lmjax` in the user's cache directory). Words seen less than five
    times in the training split become `<unk>`, unless a `vocab` is given.
    """
    home = Path(
        os.environ.get("LMJAX_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lmjax"
    )
    name = f"stdlib-py{platform.python_version()}"
    path = home / name
    if not path.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=home))
        _write_prose(fresh)
        try:
            fresh.rename(path)  # whole or not at all
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return directory(path, min_count=5, vocab=vocab)


def _write_prose(path: Path):
    seen: set[str] = set()
    files = {
        split: (path / f"{split}.txt").open("w", encoding="utf-8")
        for split in ("train", "valid", "test")
    }
    for name, text in _documents():
        place = hashlib.sha256(name.encode()).digest()[0]
        split = "test" if place < 26 else "valid" if place < 52 else "train"
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(re.findall(r"\w+(?:'\w+)?|[^\w\s]", paragraph.lower()))
            if line not in seen and _is_prose(paragraph):
                seen.add(line)
                files[split].write(line + "\n")
    for file in files.values():
        file.close()


def _is_prose(paragraph: str) -> bool:
    """Mostly words: no doctest, table, signature list or code."""
    words = paragraph.split()
    plain = sum(
        bool(re.fullmatch(r"[(\"'`*]*[A-Za-z][A-Za-z'-]*[.,;:!?)\"'`*]*", word)) for word in words
    )
    return len(words) >= 8 and plain >= 0.75 * len(words) and ">>>" not in paragraph


def _documents() -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics

    yield from sorted(topics.items())
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).parts
        if parts[0] == "pydoc_data" or NOT_PROSE & set(parts):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError):  # templates and fixtures that are no Python
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        docs = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds))
        yield "/".join(parts), "\n\n".join(doc for doc in docs if doc)
