"""Reading ARPA files, with the line of what is wrong."""

from __future__ import annotations

import hashlib
import re
from itertools import islice
from typing import NoReturn

import numpy as np

from lmjax.data import EOS, UNK, Vocabulary
from lmjax.data.files import excerpt, open_text
from lmjax.interop.arpa.words import BOS, END, RENAMED, UNK_IN_CAPITALS
from lmjax.models.ngram import Entries, Estimate, NGram, index

__all__ = ["read_arpa"]

_FIELD = re.compile(rb"[^\x00\t\n\r ]+")
_SIZE = re.compile(rb"ngram\s+(\d{1,9})\s*=\s*(\d{1,18})")
BLOCK = 1 << 14  # lines that are read at once
BOM = b"\xef\xbb\xbf"
OTHERS = [  # how files begin that are no ARPA files, and what to do with them
    (rb"mmap lm http://kheafield.com/code", "a binary file of KenLM; give its ARPA file"),
    (rb"SRILM_BINARY_NGRAM", "a binary file of SRILM; write it as ARPA with ngram -write-lm"),
    (rb"Q?blmt|[iq]ARPA", "a file of IRSTLM; write it as ARPA with compile-lm --text yes"),
    (rb"[^\x00]*\x00", "a binary file, not an ARPA file"),
]


def read_arpa(path, digest=None) -> tuple[NGram, Vocabulary]:
    r"""Read an ARPA file, as it is or compressed with gzip, bzip2, xz or Zstandard.

    `</s>` becomes `<eos>`, and `<UNK>` is `<unk>`. If the unigrams hold both, the last of them
    counts, and without either there is one of log10 probability -100, as in KenLM. Text before
    `\data\`, blank lines and n-grams in which `<s>` is not first are skipped: no text asks for
    these.

    Args:
        path: the file; it is read once, so it can be a pipe.
        digest: a `hashlib` object to update with the bytes that are read, unpacked.

    Raises:
        ValueError: the file is malformed, or holds the word `<eos>`; the line is named.
    """
    with open_text(path) as file:
        head = file.peek(1)
        for begin, what in OTHERS:
            if re.match(begin, head):
                raise ValueError(f"{path}: {what}")
        return _parse(_Reader(path, file, digest or hashlib.sha256()))


class _Reader:
    """Lines of a file that are not blank, and the number of the last one taken."""

    def __init__(self, path, file, digest):
        self.path, self.file, self.digest, self.number = path, file, digest, 0
        self.section()

    def section(self) -> None:
        """Begin a section after the line that was taken last."""
        self.begin: int = self.number + 1
        self.blank: list[int] = []  # the numbers of its lines that are blank

    def line(self) -> bytes:
        """Return the next line, `b""` at the end."""
        while True:
            line = self.file.readline()
            self.digest.update(line)
            self.number += 1
            if self.number == 1:
                line = line.removeprefix(BOM)
            if not line or line.strip():
                return line.strip()

    def take(self, count: int) -> list[list[bytes]]:
        """Return the fields of the next `count` lines, or of those that are left."""
        rows: list[list[bytes]] = []
        while len(rows) < count and (lines := list(islice(self.file, count - len(rows)))):
            self.digest.update(b"".join(lines))
            found = [_FIELD.findall(line) for line in lines]
            if not all(found):
                self.blank += [i for i, fields in enumerate(found, self.number + 1) if not fields]
                found = [fields for fields in found if fields]
            self.number += len(lines)
            rows += found
        return rows

    def refuse(self, problem: str) -> NoReturn:
        raise ValueError(f"{self.path}: line {self.number}: {problem}")

    def refuse_row(self, row: int, problem: str) -> NoReturn:
        """Refuse a line of the section by its place among those that are not blank, from 0."""
        taken = np.arange(self.begin, self.number + 1)
        self.number = int(np.delete(taken, np.array(self.blank, int) - self.begin)[row])
        self.refuse(problem)

    def expect(self, line: bytes, expected: str) -> None:
        if line != expected.encode():
            self.refuse(f"expected {expected}, got {excerpt(line) or 'the end of the file'}")


def _parse(reader: _Reader) -> tuple[NGram, Vocabulary]:
    while (line := reader.line()) and line != b"\\data\\":
        pass
    reader.expect(line, "\\data\\")
    sizes: list[int] = []
    while (line := reader.line()).startswith(b"ngram"):
        found = _SIZE.fullmatch(line)
        if found is None or int(found[1]) != len(sizes) + 1:
            reader.refuse(f"expected 'ngram {len(sizes) + 1}=' and a number, got {excerpt(line)}")
        sizes.append(int(found[2]))
    entries: list[Entries] = []
    keys: list[tuple[np.ndarray, np.ndarray]] = []
    known: dict[bytes, int] = {}
    for k, size in enumerate(sizes or [0], 1):
        reader.expect(line, f"\\{k}-grams:")
        reader.section()
        if k == 1:
            symbols, grams, log10p, log10b = _unigrams(reader, size, known)
        else:
            grams, log10p, log10b = _ngrams(reader, k, size, known)
        kept = np.flatnonzero((grams[:, 1:] != 0).all(1))  # <s> first, or not there
        if len(kept) < len(grams):
            grams, log10p, log10b = grams[kept], log10p[kept], log10b[kept]
        context, key = _contexts(reader, kept, keys, grams)
        entries.append(Entries(grams[:, -1], context, log10p, log10b if k < len(sizes) else ()))
        keys.append(key)
        line = _after(reader, k, size)
    reader.expect(line, "\\end\\")
    while reader.line():  # what is compressed has its checksum at the very end
        pass
    vocab = Vocabulary(symbols)
    return index(Estimate(tuple(entries), vocab.eos)), vocab


def _rows(reader, k, size):
    """Yield the lines of a section in blocks: `(row, words, log10p, log10b)`, `row` the first's."""
    row = 0
    while row < size:
        rows = reader.take(min(BLOCK, size - row))
        if not rows:
            reader.refuse(f"the header promises {size} {k}-grams, the file ends after {row}")
        for i, fields in enumerate(rows, row):
            if not k + 1 <= len(fields) <= k + 2:
                problem = f"expected a number, {k} words and a number, got {len(fields)} fields"
                if fields[0].startswith(b"\\"):
                    problem = f"the header promises {size} {k}-grams, the section holds {i}"
                reader.refuse_row(i, problem)
        weights = [fields[k + 1] if len(fields) > k + 1 else b"0" for fields in rows]
        log10p = _numbers(reader, row, [fields[0] for fields in rows], -np.inf)
        log10b = _numbers(reader, row, weights, np.finfo(np.float32).min)
        if (log10p > 0).any():
            reader.refuse_row(row + int(np.argmax(log10p > 0)), "log10 probability above 0")
        yield row, [word for fields in rows for word in fields[1 : k + 1]], log10p, log10b
        row += len(rows)


def _numbers(reader, row, column, least):
    """Return float32 numbers from `least` on that are below infinity."""
    try:
        if b"_" in b"".join(column):  # which Python takes
            raise ValueError
        with np.errstate(over="ignore"):
            numbers = np.array([*map(float, column)]).astype(np.float32)
        bad = ~((numbers >= least) & (numbers < np.inf))
    except ValueError:
        bad = [not _is_number(field) for field in column]
    if np.any(bad):
        i = int(np.argmax(bad))
        reader.refuse_row(row + i, f"not a finite number: {excerpt(column[i])}")
    return numbers


def _is_number(field) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _after(reader: _Reader, k, size) -> bytes:
    """Return the line after a section, which must be no k-gram."""
    line = reader.line()
    if not k + 1 <= len(line.split()) <= k + 2:
        return line
    number, held = reader.number, size + 1
    while (line := reader.line()) and not line.startswith(b"\\"):
        held += 1
    reader.number = number
    reader.refuse(f"the header promises {size} {k}-grams, the section holds {held}")


def _unigrams(reader, size, known):
    """Read the unigrams, one row a word, `<s>` first; the words' rows enter `known`.

    Returns:
        `(symbols, grams, log10p, log10b)`: the words without `<s>`, and `grams` int32 `[V + 1, 1]`.
    """
    words, values = [], [np.zeros((2, 0), np.float32)]
    for _, block, *numbers in _rows(reader, 1, size):
        words += block
        values.append(np.array(numbers))
    symbols = _symbols(reader, words)
    spellings = (UNK.encode(), UNK_IN_CAPITALS.encode()) if UNK in symbols else ()
    if not spellings:
        symbols.append(UNK)
        values.append(np.array([[-100], [0]], np.float32))
    order = [symbols.index(BOS), *(i for i, symbol in enumerate(symbols) if symbol != BOS)]
    if symbols.count(UNK) > 1:
        order.remove(symbols.index(UNK))
    row = {symbols[i]: place for place, i in enumerate(order)}
    known |= {word: row[symbol] for word, symbol in zip(words, symbols, strict=False)}
    known |= dict.fromkeys(spellings, row[UNK])
    log10p, log10b = np.concatenate(values, 1)[:, order]
    grams = np.arange(len(order), dtype=np.int32)[:, None]
    return (*row,)[1:], grams, log10p, log10b


def _symbols(reader, words) -> list[str]:
    """Return what the words of an ARPA file are called here."""
    seen = set()
    symbols = []
    for i, word in enumerate(words):
        if word in seen:
            reader.refuse_row(i, f"{excerpt(word)} is there twice")
        seen.add(word)
        try:
            symbol = word.decode()
        except UnicodeDecodeError as error:
            byte = f"byte 0x{word[error.start]:02x} at {error.start}"
            reader.refuse_row(i, f"the word {excerpt(word)} is not UTF-8 ({byte})")
        if symbol == EOS:
            reader.refuse_row(i, f"the word {EOS} is reserved: {END} becomes {EOS}")
        symbols.append(RENAMED.get(symbol, symbol))
    for symbol in (BOS, END):
        if symbol.encode() not in seen:
            reader.refuse(f"{symbol} is not among the unigrams")
    return symbols


def _ngrams(reader, k, size, known):
    """Read the n-grams of length k: `(grams, log10p, log10b)`, `grams` int32 `[size, k]`."""
    grams, values = [np.zeros((0, k), np.int32)], [np.zeros((2, 0), np.float32)]
    for row, words, *numbers in _rows(reader, k, size):
        try:
            grams.append(np.reshape([known[word] for word in words], (-1, k)).astype(np.int32))
        except KeyError as error:
            word = error.args[0]
            problem = f"{excerpt(word)} is not among the unigrams"
            reader.refuse_row(row + words.index(word) // k, problem)
        values.append(np.array(numbers))
    return np.concatenate(grams), *np.concatenate(values, 1)


def _contexts(reader, rows, keys, grams) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Find the contexts of the n-grams of one length, which must be among the shorter ones.

    Returns:
        `(context, (key, row))`: the contexts' rows, and the sorted pairs of context and word, each
        pair as one number, with their rows.
    """
    context = np.zeros(len(grams), np.int64)
    for k, (key, row) in enumerate(keys):
        wanted = context << 32 | grams[:, k]
        at = np.searchsorted(key, wanted)
        if (missing := np.append(key, -1)[at] != wanted).any():
            first = rows[np.argmax(missing)]
            reader.refuse_row(first, "the n-gram without its last word is not in the file")
        context = row[at]
    wanted = context << 32 | grams[:, -1]
    order = np.argsort(wanted, kind="stable")
    key = wanted[order]
    if (twice := key[1:] == key[:-1]).any():
        reader.refuse_row(rows[order[1:][twice].min()], "the n-gram is there twice")
    return context, (key, order)
