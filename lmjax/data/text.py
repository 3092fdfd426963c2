"""Text to tokens and back: lines of a file, words or characters, and the vocabulary."""

from __future__ import annotations

import operator
import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from lmjax.data.files import open_text

__all__ = [
    "EOS",
    "RESERVED",
    "UNK",
    "Vocabulary",
    "build_vocabulary",
    "read_lines",
    "tokenize",
    "tokenize_lines",
]

EOS = "<eos>"
UNK = "<unk>"
RESERVED = ("<s>", "</s>", EOS)  # where a line begins and ends: its newline alone says that
UNKNOWN = "\ufffd"  # how a text of characters writes `<unk>`: Unicode's replacement character


def read_lines(path, digest=None) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file without their newline, one at a time.

    Only `\n` ends a line. A byte order mark at the start is dropped.

    Args:
        path: the file; it is read once, so it can be a pipe.
        digest: a `hashlib` object to update with the bytes that are read.

    Raises:
        ValueError: a line is not UTF-8; file, line and byte are named.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if digest is not None:
                digest.update(line)
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise ValueError(
                    f"{path}: line {number} is not UTF-8 (byte 0x{byte:02x} at {error.start})"
                ) from None
            if text:  # not so for a byte order mark alone
                yield text.removesuffix("\n")


def tokenize(line: str, level: str = "word", *, reserved: Collection[str] = RESERVED) -> list[str]:
    r"""Return the tokens of one line, its end included.

    Words are what stands between the separators space, tab, `\r`, `\n` and NUL, and no other white
    space (KenLM's rule); the line's end is `<eos>`. `<unk>` is a word as any other, but `<s>`,
    `</s>` and `<eos>` are refused: a line that says its end in writing would end twice.

    Characters are Unicode code points; the end is `\n`, with the `\r` before it. U+FFFD, as which
    `<unk>` is written, is `<unk>`.

    >>> tokenize("the cat  sat"), tokenize("한 줄", "char")
    (['the', 'cat', 'sat', '<eos>'], ['한', ' ', '줄', '\n'])

    Raises:
        ValueError: a word is reserved.
    """
    if level == "char":
        characters = line.rstrip("\r")
        if UNKNOWN not in characters:
            return [*characters, "\n"]
        return [*(UNK if c == UNKNOWN else c for c in characters), "\n"]
    for separator in "\0\t\n\r":
        line = line.replace(separator, " ")
    words = [*filter(None, line.split(" "))]
    if "<" in line and (found := next((word for word in words if word in reserved), None)):
        raise ValueError(f"line holds the reserved symbol {found}")
    return [*words, EOS]


def tokenize_lines(
    lines: Iterable[str],
    level: str = "word",
    *,
    name="text",
    reserved: Collection[str] = RESERVED,
) -> Iterator[list[str]]:
    """Yield the tokens of each line, see `tokenize`.

    >>> [*tokenize_lines(["the cat", ""])]
    [['the', 'cat', '<eos>'], ['<eos>']]

    Raises:
        ValueError: a word is reserved; `name`, of the text, and the line are named.
    """
    for number, line in enumerate(lines, 1):
        try:
            tokens = tokenize(line, level, reserved=reserved)
        except ValueError as error:
            place = f"{name}: line {number}"
            raise ValueError(str(error).replace("line", place, 1)) from None
        yield tokens


@dataclass(frozen=True)
class Vocabulary:
    r"""The symbols a model knows; a token's id is its place, most frequent first.

    >>> vocab = Vocabulary(("the", "<eos>", "cat", "<unk>"), "word")
    >>> vocab.encode("the dog").tolist(), vocab.decode([0, 2, 1])
    ([0, 3, 1], 'the cat\n')
    """

    symbols: tuple[str, ...]
    level: str = "word"  # "word" or "char"

    def __post_init__(self):
        if self.level not in ("word", "char"):
            raise ValueError(f"vocabulary: level must be 'word' or 'char', got {self.level!r}")
        if len(self.symbols) < 2:
            raise ValueError(f"vocabulary: at least 2 symbols are needed, got {len(self.symbols)}")
        if len(self.index) != len(self.symbols):
            twice = next(s for s, n in Counter(self.symbols).items() if n > 1)
            raise ValueError(f"vocabulary: symbol {reprlib.repr(twice)} is there more than once")
        missing = {self.end, UNK} - set(self.symbols)
        if missing:
            raise ValueError(f"vocabulary: {sorted(missing)} must be among the symbols")

    def __len__(self):
        return len(self.symbols)

    @cached_property
    def index(self) -> dict[str, int]:
        """Symbol to id."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    @property
    def end(self) -> str:
        r"""The symbol at the end of every line: `<eos>`, or `\n` for characters."""
        return EOS if self.level == "word" else "\n"

    @property
    def eos(self) -> int:
        """The id of `end`, which also stands before the first token of a text."""
        return self.index[self.end]

    @property
    def unk(self) -> int:
        """The id that stands for every unknown symbol."""
        return self.index[UNK]

    def encode(self, text: str) -> np.ndarray:
        r"""Return the ids int32 `[N]` of a text, as of a file that holds it.

        Every line has its end, the last one with or without a newline; the empty text has no line.
        Unknown symbols are `<unk>`.

        Raises:
            ValueError: a word is reserved, see `tokenize`.
        """
        lines = text.removesuffix("\n").split("\n") if text else []
        get, unk = self.index.get, self.unk
        tokens = chain.from_iterable(tokenize_lines(lines, self.level))
        return np.array([get(token, unk) for token in tokens], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        r"""Return the text of ids: words parted by a space, characters by nothing.

        Each line end is a newline, so that `encode(decode(ids))` are the ids of any text.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        ids = [*map(operator.index, ids)]
        if wrong := [i for i in ids if not 0 <= i < len(self)]:
            raise ValueError(f"decode: id {wrong[0]} is not in the vocabulary of {len(self)}")
        if self.level == "char":
            return "".join(UNKNOWN if i == self.unk else self.symbols[i] for i in ids)
        text = " ".join("\n" if i == self.eos else self.symbols[i] for i in ids)
        return text.replace(" \n", "\n").replace("\n ", "\n")


def build_vocabulary(
    lines: Iterable[str], *, level: str = "word", min_count: int = 1, name="text"
) -> Vocabulary:
    """Count the symbols of `lines` and keep those seen `min_count` times, the most frequent first.

    `<unk>` and the line end are always in; rarer symbols count as `<unk>`. Ties are broken by the
    symbol, but `<unk>` stands before its equals: it is the last if and only if it was never seen.
    An error calls the text by `name`.

    >>> build_vocabulary(["b a", "b a c"], min_count=2).symbols
    ('<eos>', 'a', 'b', '<unk>')

    Raises:
        ValueError: `min_count` is below 1, there is no line, a word is reserved, or fewer than two
            symbols besides these two are left.
    """
    if min_count < 1:
        raise ValueError(f"min_count: at least 1, got {min_count}")
    counts = Counter(chain.from_iterable(tokenize_lines(lines, level, name=name)))
    if not counts:
        raise ValueError(f"corpus: {name} is empty")
    end = EOS if level == "word" else "\n"
    rare = [s for s, n in counts.items() if n < min_count and s not in (end, UNK)]
    counts[UNK] += sum(counts.pop(s) for s in rare)
    if len(counts) < 4:
        known = sorted(set(counts) - {end, UNK})
        raise ValueError(
            f"vocabulary: at least 2 distinct symbols besides {end!r} and {UNK!r} are needed, "
            f"got {reprlib.repr(known)}"
            + (f" (min_count={min_count} dropped {len(rare)})" if rare else "")
        )
    return Vocabulary(tuple(sorted(counts, key=lambda s: (-counts[s], s != UNK, s))), level)
