"""Text to tokens and back: lines of a file, words or characters, and the vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

__all__ = ["EOS", "UNK", "Vocabulary", "build_vocabulary", "read_lines", "tokenize"]

EOS = "<eos>"
UNK = "<unk>"


def read_lines(path) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file without their newline, one at a time.

    Only `\n` ends a line. A byte order mark at the start is dropped.

    Raises:
        ValueError: a line is not UTF-8; file, line and byte are named.
    """
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise ValueError(
                    f"{path}: line {number} is not UTF-8 (byte 0x{byte:02x} at {error.start})"
                ) from None
            yield text.removesuffix("\n")


def tokenize(line: str, level: str = "word") -> list[str]:
    r"""Return the tokens of one line, its end included.

    Words are what stands between the separators space, tab, `\r`, `\n` and NUL, and no other white
    space (KenLM's rule); the line's end is `<eos>`. Characters are Unicode code points; the end is
    `\n`.

    >>> tokenize("the cat  sat"), tokenize("한 줄", "char")
    (['the', 'cat', 'sat', '<eos>'], ['한', ' ', '줄', '\n'])
    """
    if level == "char":
        return [*line, "\n"]
    for separator in "\0\t\n\r":
        line = line.replace(separator, " ")
    return [*filter(None, line.split(" ")), EOS]


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
            raise ValueError(f"vocabulary: symbol {twice!r} is there more than once")
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
        """Return the ids int32 `[N]` of a text, line ends included; unknown symbols are `<unk>`."""
        get, unk = self.index.get, self.unk
        return np.array(
            [get(t, unk) for line in text.split("\n") for t in tokenize(line, self.level)], np.int32
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids: words parted by a space, characters by nothing."""
        symbols = [self.symbols[i] for i in ids]
        if self.level == "char":
            return "".join(symbols)
        return (
            " ".join("\n" if s == EOS else s for s in symbols)
            .replace(" \n ", "\n")
            .replace(" \n", "\n")
        )


def build_vocabulary(
    lines: Iterable[str], *, level: str = "word", min_count: int = 1
) -> Vocabulary:
    """Count the symbols of `lines` and keep those seen `min_count` times, the most frequent first.

    `<unk>` and the line end are always in; rarer symbols count as `<unk>`. Ties are broken by the
    symbol.

    >>> build_vocabulary(["b a", "b a c"], min_count=2).symbols
    ('<eos>', 'a', 'b', '<unk>')

    Raises:
        ValueError: `min_count` is below 1, or fewer than two symbols besides these two are left.
    """
    if min_count < 1:
        raise ValueError(f"min_count: at least 1, got {min_count}")
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(tokenize(line, level))
    end = EOS if level == "word" else "\n"
    rare = [s for s, n in counts.items() if n < min_count and s not in (end, UNK)]
    counts[UNK] += sum(counts.pop(s) for s in rare)
    counts[end] += 0
    if len(counts) < 4:
        known = sorted(set(counts) - {end, UNK})
        raise ValueError(
            f"vocabulary: at least 2 distinct symbols besides {end!r} and {UNK!r} are needed, "
            f"got {known}" + (f" (min_count={min_count} dropped {len(rare)})" if rare else "")
        )
    return Vocabulary(tuple(sorted(counts, key=lambda s: (-counts[s], s))), level)
