"""ARPA files: the text format that n-gram toolkits share."""

from __future__ import annotations

import gzip
import re
from itertools import islice
from pathlib import Path
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.data import EOS, UNK, Vocabulary
from lmjax.models.ngram import Level, NGram, Quantised, arrange

__all__ = ["read_arpa", "write_arpa"]

_FIELD = re.compile(rb"[^\x00\t\n\r ]+")
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
BOS, END = "<s>", "</s>"
BLOCK = 1 << 14  # lines that are read at once


def write_arpa(path, model: NGram, vocab: Vocabulary):
    """Write a model as an ARPA file, gzipped if the name ends in `.gz`.

    Values are shortest decimals, which give the same float32. n-grams stand in KenLM's order, by last
    word, then the word before, and so on. `<eos>` is written `</s>`.

    Raises:
        ValueError: the format cannot hold the model: a probability or a weight is 0 or undefined, contexts
            not in the model have a weight (stupid backoff), or a word contains white space or is reserved.
    """
    import polars as pl

    if model.vocab_size != len(vocab):
        raise ValueError(f"arpa: a model of {model.vocab_size} words and a vocabulary of {len(vocab)}")
    for symbol in vocab.symbols:
        if symbol != vocab.end and (symbol in (BOS, END) or not symbol or set(symbol) & set("\0\t\n\r ")):
            raise ValueError(f"arpa: the format has no place for the word {symbol!r}")
    finite = all(np.isfinite(_values(x)).all() for level in model.levels for x in (level.log10p, level.log10b))
    if not finite or model.unseen != 0:
        raise ValueError(
            "arpa: no place in the format for probabilities or weights of 0, nor for a weight of unseen contexts"
        )
    names = pl.Series([BOS, *(END if symbol == vocab.end else symbol for symbol in vocab.symbols)])
    with _open(path) as file:
        sizes = [f"ngram {k}={len(level.word)}\n" for k, level in enumerate(model.levels, 1)]
        file.write(("\\data\\\n" + "".join(sizes)).encode())
        order, text = np.zeros(1, np.int64), names[:1]  # the rows of the shorter n-grams in KenLM's order, their words
        for k, level in enumerate(model.levels, 1):
            order, context, word = _sorted(np.asarray(level.first), np.asarray(level.word), order)
            last = names.gather(word)
            text = last if k == 1 else text.gather(context) + " " + last
            weights = {"log10b": _values(level.log10b, order)} if len(level.log10b) else {}
            lines = pl.DataFrame({"log10p": _values(level.log10p, order), "words": text} | weights)
            lines = lines.with_columns(pl.col(pl.Float32).replace(0, None))
            if k == 1:
                lines = pl.concat([lines[1:2], lines[:1], lines[2:]])  # KenLM's list of words begins <unk> <s> </s>
            file.write(f"\n\\{k}-grams:\n".encode())
            lines.write_csv(file, include_header=False, separator="\t", null_value="0", quote_style="never")
        file.write(b"\n\\end\\\n")


def _sorted(first, word, order) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort n-grams by last word, then as `order` does their contexts: rows, places of the contexts, last words."""
    sizes = np.diff(first)[order]
    rows = np.repeat(first[order] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(word))
    key = np.sort(word[rows].astype(np.int64) << 32 | np.arange(len(word)))
    at = key & 0xFFFFFFFF
    return rows[at], np.repeat(np.arange(len(order)), sizes)[at], key >> 32


def _values(values, rows=slice(None)) -> np.ndarray:
    """Return float32 values, those of a quantised model restored."""
    if isinstance(values, Quantised):
        return np.asarray(values.table)[np.asarray(values.code)[rows]]
    return np.asarray(values, np.float32)[rows]


def _open(path):
    return gzip.open(path, "wb", compresslevel=6) if str(path).endswith(".gz") else Path(path).open("wb")


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
            self.refuse(f"expected {expected}, got {line.decode(errors='replace') or 'the end of the file'}")


def _parse(reader) -> tuple[NGram, Vocabulary]:
    reader.expect(reader.line(), "\\data\\")
    sizes: list[int] = []
    while (line := reader.line()).startswith(b"ngram "):
        order, _, size = line[6:].partition(b"=")
        if order.strip() != b"%d" % (len(sizes) + 1) or not size.strip().isdigit():
            reader.refuse(f"expected 'ngram {len(sizes) + 1}=' and a number, got {line.decode(errors='replace')}")
        sizes.append(int(size))
    index: dict[bytes, int] = {BOS.encode(): 0}
    levels: list[Level] = []
    keys: list[tuple[np.ndarray, np.ndarray]] = []
    for k, size in enumerate(sizes or [0], 1):
        reader.expect(line, f"\\{k}-grams:")
        begin = reader.number + 1
        grams, log10p, log10b = _rows(reader, k, size, index)
        if k == 1:
            grams, log10p, log10b = _unigrams(reader, index, grams, log10p, log10b)
        level, key = _level(reader, begin, keys, grams, log10p, log10b if k < len(sizes) else ())
        levels.append(level)
        keys.append(key)
        line = reader.line()
    reader.expect(line, "\\end\\")
    vocab = Vocabulary(tuple(EOS if word == END.encode() else word.decode() for word in [*index][1:]))
    return NGram(tuple(levels), jnp.int32(vocab.eos), jnp.float32(0)), vocab


def _rows(reader, k, size, index):
    """Return the words int32 `[size, k]` and the two values of the lines of a section; unigrams enter `index`."""
    grams, values = np.zeros((size, k), np.int32), np.zeros((2, size), np.float32)
    for begin in range(0, size, BLOCK):
        first = reader.number + 1
        rows = reader.take(min(BLOCK, size - begin))
        for i, fields in enumerate(rows):
            if not k + 1 <= len(fields) <= k + 2:
                reader.refuse(f"expected a number, {k} words and a number, got {len(fields)} fields", first + i)
        block = slice(begin, begin + len(rows))
        for place, column in enumerate(([f[0] for f in rows], [f[k + 1] if len(f) > k + 1 else b"0" for f in rows])):
            values[place, block] = _numbers(reader, first, column)
        if (values[0, block] > 0).any():
            reader.refuse("log10 probability above 0", first + int(np.argmax(values[0, block] > 0)))
        words = [word for fields in rows for word in fields[1 : k + 1]]
        if k == 1:
            for i, word in enumerate(words):
                if index.setdefault(word, len(index)) != (len(index) - 1 if word != BOS.encode() else 0):
                    reader.refuse(f"{word.decode(errors='replace')} is there twice", first + i)
        try:
            grams[block] = np.reshape([index[word] for word in words], (-1, k))
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


def _unigrams(reader, index, grams, log10p, log10b):
    """Complete the unigrams: one row a word, `<s>` first."""
    for symbol in (BOS, END):
        if symbol.encode() not in index or (symbol == BOS and not (grams == 0).any()):
            reader.refuse(f"{symbol} is not among the unigrams")
    if UNK.encode() not in index:
        index[UNK.encode()] = len(index)
        grams, log10p, log10b = np.append(grams, [[len(index) - 1]], 0), np.append(log10p, -100), np.append(log10b, 0)
    return grams, log10p.astype(np.float32), log10b.astype(np.float32)


def _level(reader, begin, keys, grams, log10p, log10b) -> tuple[Level, tuple[np.ndarray, np.ndarray]]:
    """Arrange the n-grams of one length, whose contexts must be among the shorter ones.

    Returns:
        The level, and the sorted pairs of context and word, as one number each, with their rows.
    """
    context = np.zeros(len(grams), np.int64)
    for k, (key, row) in enumerate(keys):
        wanted = context << 32 | grams[:, k]
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        if (missing := key[at] != wanted).any():
            reader.refuse("the n-gram without its last word is not in the file", begin + int(np.argmax(missing)))
        context = row[at]
    if keys and (last := grams[:, -1] == 0).any():
        reader.refuse("<s> can only begin an n-gram", begin + int(np.argmax(last)))
    wanted = context << 32 | grams[:, -1]
    order = np.argsort(wanted, kind="stable")
    key = wanted[order]
    if (twice := key[1:] == key[:-1]).any():
        reader.refuse("the n-gram is there twice", begin + int(order[1:][twice].min()))
    at, first = np.arange(len(key)), np.array([0, len(key)], np.int32)
    shift: np.ndarray | tuple[()] = ()
    if keys:
        at, first, shift = arrange(key >> 32, key & 0xFFFFFFFF, len(keys[-1][0]))
    order = order[at]
    row = np.empty_like(at)
    row[at] = np.arange(len(at))
    arrays = (first, shift, grams[order, -1], log10p[order], log10b[order] if len(log10b) else ())
    return Level(*jax.tree.map(jnp.asarray, arrays)), (key, row)
