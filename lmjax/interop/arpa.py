"""ARPA files: the text format that n-gram toolkits share."""

from __future__ import annotations

import gzip
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NoReturn

import numpy as np

from lmjax.data import EOS, UNK, Vocabulary, tokenize
from lmjax.models.ngram import Entries, Estimate, NGram, index, listing

__all__ = ["read_arpa", "write_arpa"]

_FIELD = re.compile(rb"[^\x00\t\n\r ]+")
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
BOS, END = "<s>", "</s>"
BLOCK = 1 << 14  # lines that are read at once


def write_arpa(path, model: Estimate | NGram, vocab: Vocabulary):
    """Write a model, or an estimate as it is, as an ARPA file, gzipped if the name ends in `.gz`.

    Values are shortest decimals, which give the same float32. The n-grams of a model or of `count`
    are sorted by suffix, as KenLM sorts them. `<eos>` is written `</s>`.

    Raises:
        ValueError: the format cannot hold the model: a probability or a weight is 0 or undefined,
            contexts not in the model have a weight (stupid backoff), or a word contains white space
            or is reserved.
    """
    import polars as pl

    entries, _, unseen = listing(model) if isinstance(model, NGram) else model
    if len(entries[0].word) != len(vocab) + 1:
        size = len(entries[0].word) - 1
        raise ValueError(f"arpa: a model of {size} words and a vocabulary of {len(vocab)}")
    for symbol in vocab.symbols:
        if symbol != vocab.end and (symbol in (BOS, END) or tokenize(symbol) != [symbol, EOS]):
            raise ValueError(f"arpa: the format has no place for the word {symbol!r}")
    if unseen != 0 or not all(np.isfinite(x).all() for _, _, *values in entries for x in values):
        raise ValueError(
            "arpa: no place in the format for probabilities or weights of 0, "
            "nor for a weight of unseen contexts"
        )
    words = pl.Series([BOS, *(END if symbol == vocab.end else symbol for symbol in vocab.symbols)])

    def sections():
        text, last = words, " " + words
        for k, (word, context, log10p, log10b) in enumerate(entries, 1):
            text = text.gather(context) + last.gather(word) if k > 1 else text
            lines = pl.DataFrame({"log10p": log10p, "text": text})
            if len(log10b):
                lines = lines.with_columns(pl.Series("log10b", log10b))
            if k == 1:  # `<unk>` before `<s>`, as in KenLM's files
                lines = lines[[1, 0, *range(2, len(lines))]]
            yield f"\n\\{k}-grams:\n", lines

    def write(section):
        title, lines = section
        file.write(title.encode())
        lines = lines.with_columns(pl.col(pl.Float32).replace(0, None))
        lines.write_csv(
            file, include_header=False, separator="\t", null_value="0", quote_style="never"
        )

    # a thread writes while the words of the longer n-grams are joined
    with _open(path) as file, ThreadPoolExecutor(1) as writer:
        sizes = [f"ngram {k}={len(x.word)}\n" for k, x in enumerate(entries, 1)]
        file.write(("\\data\\\n" + "".join(sizes)).encode())
        for _ in writer.map(write, sections()):
            pass
        file.write(b"\n\\end\\\n")


def _open(path):
    if str(path).endswith(".gz"):
        return gzip.open(path, "wb", compresslevel=6)
    return Path(path).open("wb")


def read_arpa(path) -> tuple[NGram, Vocabulary]:
    """Read an ARPA file, gzipped or not.

    `</s>` becomes `<eos>`. A file without `<unk>` gets one of log10 probability -100, as in KenLM.

    Raises:
        ValueError: the file is malformed; the line is named.
    """
    with Path(path).open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else Path(path).open("rb") as file:
        try:
            return _parse(_Reader(path, file))
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: {error}") from None


class _Reader:
    """Lines of a file, and the number of the last one taken."""

    def __init__(self, path, file):
        self.path, self.lines, self.number = path, iter(file), 0

    def line(self) -> bytes:
        """Return the next line that is not blank, `b""` at the end."""
        while True:
            line = next(self.lines, b"")
            self.number += 1
            if not line or line.strip():
                return line.strip()

    def take(self, count: int) -> list[list[bytes]]:
        """Return the fields of the next `count` lines."""
        lines = list(islice(self.lines, count))
        self.number += len(lines)
        return [_FIELD.findall(line) for line in lines] + [[]] * (count > len(lines))

    def refuse(self, problem: str, number: int | None = None) -> NoReturn:
        raise ValueError(f"{self.path}: line {number or self.number}: {problem}")

    def expect(self, line: bytes, expected: str):
        if line != expected.encode():
            found = line.decode(errors="replace") or "the end of the file"
            self.refuse(f"expected {expected}, got {found}")


def _parse(reader) -> tuple[NGram, Vocabulary]:
    reader.expect(reader.line(), "\\data\\")
    sizes: list[int] = []
    while (line := reader.line()).startswith(b"ngram "):
        order, _, size = line[6:].partition(b"=")
        if order.strip() != b"%d" % (len(sizes) + 1) or not size.strip().isdigit():
            found = line.decode(errors="replace")
            reader.refuse(f"expected 'ngram {len(sizes) + 1}=' and a number, got {found}")
        sizes.append(int(size))
    known: dict[bytes, int] = {BOS.encode(): 0}
    entries: list[Entries] = []
    keys: list[tuple[np.ndarray, np.ndarray]] = []
    for k, size in enumerate(sizes or [0], 1):
        reader.expect(line, f"\\{k}-grams:")
        begin = reader.number + 1
        grams, log10p, log10b = _rows(reader, k, size, known)
        if k == 1:
            grams, log10p, log10b = _unigrams(reader, known, grams, log10p, log10b)
        context, key = _contexts(reader, begin, keys, grams)
        entries.append(Entries(grams[:, -1], context, log10p, log10b if k < len(sizes) else ()))
        keys.append(key)
        line = reader.line()
    reader.expect(line, "\\end\\")
    words = (word.decode() for word in [*known][1:])
    vocab = Vocabulary(tuple(EOS if word == END else word for word in words))
    return index(Estimate(tuple(entries), vocab.eos)), vocab


def _rows(reader, k, size, known):
    """Return what the lines of a section hold: words int32 `[size, k]`, log10p and log10b.

    Unigrams enter `known`.
    """
    grams, values = np.zeros((size, k), np.int32), np.zeros((2, size), np.float32)
    for begin in range(0, size, BLOCK):
        first = reader.number + 1
        rows = reader.take(min(BLOCK, size - begin))
        for i, fields in enumerate(rows):
            if not k + 1 <= len(fields) <= k + 2:
                expected = f"expected a number, {k} words and a number"
                reader.refuse(f"{expected}, got {len(fields)} fields", first + i)
        block = slice(begin, begin + len(rows))
        weights = [fields[k + 1] if len(fields) > k + 1 else b"0" for fields in rows]
        values[0, block] = _numbers(reader, first, [fields[0] for fields in rows])
        values[1, block] = _numbers(reader, first, weights)
        if (values[0, block] > 0).any():
            reader.refuse("log10 probability above 0", first + int(np.argmax(values[0, block] > 0)))
        words = [word for fields in rows for word in fields[1 : k + 1]]
        if k == 1:
            for i, word in enumerate(words):
                number = known.setdefault(word, len(known))
                if number != (0 if word == BOS.encode() else len(known) - 1):
                    reader.refuse(f"{word.decode(errors='replace')} is there twice", first + i)
        try:
            grams[block] = np.reshape([known[word] for word in words], (-1, k))
        except KeyError as error:
            word = error.args[0]
            number = first + words.index(word) // k
            reader.refuse(f"{word.decode(errors='replace')} is not among the unigrams", number)
    return grams, *values


def _numbers(reader, first, column):
    try:
        numbers = np.array(column).astype(np.float32)
        bad = ~np.isfinite(numbers)
    except ValueError:
        bad = [not _NUMBER.fullmatch(field) for field in column]
    if np.any(bad):
        i = int(np.argmax(bad))
        reader.refuse(f"not a finite number: {column[i].decode(errors='replace')}", first + i)
    return numbers


def _unigrams(reader, known, grams, log10p, log10b):
    """Complete the unigrams: one row a word, `<s>` first."""
    for symbol in (BOS, END):
        if symbol.encode() not in known or (symbol == BOS and not (grams == 0).any()):
            reader.refuse(f"{symbol} is not among the unigrams")
    if UNK.encode() not in known:
        known[UNK.encode()] = len(known)
        grams = np.append(grams, [[len(known) - 1]], 0)
        log10p, log10b = np.append(log10p, -100), np.append(log10b, 0)
    order = np.argsort(grams[:, 0])
    return grams[order], log10p.astype(np.float32)[order], log10b.astype(np.float32)[order]


def _contexts(reader, begin, keys, grams) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Find the contexts of the n-grams of one length, which must be among the shorter ones.

    Returns:
        `(context, (key, row))`: the contexts' rows, and the sorted pairs of context and word, each
        pair as one number, with their rows.
    """
    context = np.zeros(len(grams), np.int64)
    for k, (key, row) in enumerate(keys):
        wanted = context << 32 | grams[:, k]
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        if (missing := key[at] != wanted).any():
            number = begin + int(np.argmax(missing))
            reader.refuse("the n-gram without its last word is not in the file", number)
        context = row[at]
    if keys and (last := grams[:, -1] == 0).any():
        reader.refuse("<s> can only begin an n-gram", begin + int(np.argmax(last)))
    wanted = context << 32 | grams[:, -1]
    order = np.argsort(wanted, kind="stable")
    key = wanted[order]
    if (twice := key[1:] == key[:-1]).any():
        reader.refuse("the n-gram is there twice", begin + int(order[1:][twice].min()))
    return context, (key, order)
