"""Corpora: three splits of one text as token ids, with the vocabulary of the first."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import re
import sysconfig
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmjax.data.files import COMPRESSED
from lmjax.data.scratch import Scratch
from lmjax.data.text import Vocabulary, build_vocabulary, read_lines, tokenize_lines

__all__ = ["Corpus", "directory", "one_split", "stdlib"]

SPLITS = ("train", "valid", "test")
LAYOUTS = ("{}.txt", "ptb.{}.txt", "wiki.{}.tokens", "wiki.{}.raw")
NOT_PROSE = {"site-packages", "dist-packages", "test", "tests", "idle_test"}  # folders left out


class Corpus(NamedTuple):
    """A text in three splits of token ids; the arrays lie on disk, read as they are needed.

    A split that was not asked for is empty.
    """

    name: str
    vocab: Vocabulary
    train: np.ndarray  # int32 [N]
    valid: np.ndarray  # int32 [N]
    test: np.ndarray  # int32 [N]
    sha256: str  # of the three texts' bytes, in this order; of those that are there


def directory(
    path, *, level: str = "word", min_count: int = 1, vocab: Vocabulary | None = None
) -> Corpus:
    """Read a directory that holds `train`, `valid` and `test` in one of four layouts.

    `train.txt`, `ptb.train.txt`, `wiki.train.tokens` or `wiki.train.raw`, and so on, as they are or
    compressed (`train.txt.gz`). Files are read line by line and ids are kept on disk: neither needs
    to fit in memory.

    Args:
        path: the directory.
        level: "word" or "char", see `tokenize`.
        min_count: symbols seen less often in the training split become `<unk>`.
        vocab: use this vocabulary in place of one counted on the training split.

    Raises:
        ValueError: no layout fits, a file is not UTF-8 or holds a reserved symbol, or a split is
            empty.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"corpus: {path} is not a directory")
    files = _find(path, SPLITS)
    if vocab is None:
        file = files["train"]
        vocab = build_vocabulary(read_lines(file), level=level, min_count=min_count, name=file)
    return _read(path.resolve().name, files, SPLITS, vocab)


def one_split(path, split: str, *, vocab: Vocabulary) -> Corpus:
    r"""Read one split alone, of a directory as `directory` takes it, where others may lack.

    Args:
        path: the directory, or the split's file under any name, which can be a pipe.
        split: "train", "valid" or "test".
        vocab: the words.

    >>> file = Path(tempfile.mkdtemp()) / "some.text"
    >>> _ = file.write_text("the cat\n")
    >>> one_split(file, "test", vocab=Vocabulary(("<unk>", "<eos>", "cat"))).test.tolist()
    [0, 2, 1]

    Raises:
        ValueError: as `directory`.
    """
    path = Path(path)
    if split not in SPLITS:
        raise ValueError(f"split: must be train, valid or test, got {split!r}")
    if not path.exists():
        raise ValueError(f"corpus: {path} is not a directory or a file")
    if path.is_dir():
        return _read(path.resolve().name, _find(path, [split]), [split], vocab)
    return _read(path.name, {split: path}, [split], vocab)


def _find(path: Path, needed: Collection[str]) -> dict[str, Path]:
    """Return the files, by split, of the first layout that has those needed."""
    for layout, ending in product(LAYOUTS, ("", *COMPRESSED)):
        files = {split: path / (layout.format(split) + ending) for split in SPLITS}
        files = {split: file for split, file in files.items() if file.is_file()}
        if set(needed) <= set(files):
            return files
    name = f"{{{','.join(needed)}}}" if len(needed) > 1 else next(iter(needed))
    layouts = " or ".join(layout.format(name) for layout in LAYOUTS)
    raise ValueError(f"corpus: {path} holds no {layouts}")


def _read(name: str, files: dict[str, Path], wanted: Collection[str], vocab: Vocabulary) -> Corpus:
    """Encode the splits that are wanted; all files count for the digest."""
    digest = hashlib.sha256()
    ids = dict.fromkeys(SPLITS, np.zeros(0, np.int32))
    for split, file in files.items():
        if split in wanted:
            ids[split] = encode_file(vocab, file, digest)
        else:
            for _ in read_lines(file, digest):
                pass
    return Corpus(name, vocab, **ids, sha256=digest.hexdigest())


def encode_file(vocab: Vocabulary, path, digest=None) -> np.ndarray:
    """Return the ids of a file's tokens as int32 `[N]`, kept in an unnamed temporary file."""
    get, unk, ids = vocab.index.get, vocab.unk, Scratch("i4")
    for tokens in tokenize_lines(read_lines(path, digest), vocab.level, name=path):
        ids.append([get(token, unk) for token in tokens])
    if not len(found := ids.array()):
        raise ValueError(f"corpus: {path} is empty")
    return found


def stdlib(*, level: str = "word", min_count: int = 5, vocab: Vocabulary | None = None) -> Corpus:
    """Return the corpus made of the English prose that every CPython ships.

    The reference topics of `pydoc` and the docstrings of the standard library, lower-cased, one
    paragraph a line, each paragraph once; a module or topic falls whole into one split, by the hash
    of its name (train 80 %, valid 10 %, test 10 %). The text differs between Python versions: name
    and sha256 say which it is. Made in about ten seconds on first use, then kept in a cache
    directory (`$LMJAX_CACHE`, or `lmjax` in the user's cache directory).

    The arguments are those of `directory`.

    Raises:
        OSError: the cache cannot be written.
    """
    home = Path(
        os.environ.get("LMJAX_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lmjax"
    )
    path = home / f"stdlib-py{platform.python_version()}"
    if not path.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as place:
            fresh = Path(place) / path.name
            try:
                _write_prose(fresh)
                fresh.rename(path)  # whole or not at all
            except OSError as error:
                if not path.is_dir():  # or another process was first
                    raise OSError(error.errno, error.strerror, str(home)) from None
    return directory(path, level=level, min_count=min_count, vocab=vocab)


def _write_prose(path: Path):
    path.mkdir()
    seen: set[str] = set()
    with ExitStack() as stack:
        files = {
            split: stack.enter_context((path / f"{split}.txt").open("w", encoding="utf-8"))
            for split in SPLITS
        }
        for name, text in _documents():
            place = hashlib.sha256(name.encode()).digest()[0]
            split = "test" if place < 26 else "valid" if place < 52 else "train"
            for paragraph in re.split(r"\n\s*\n", text):
                line = " ".join(re.findall(r"\w+(?:'\w+)?|[^\w\s]", paragraph.lower()))
                if line not in seen and _is_prose(paragraph):
                    seen.add(line)
                    files[split].write(line + "\n")


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
