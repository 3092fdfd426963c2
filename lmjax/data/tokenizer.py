"""Sentences to ids and back, without loss of a space: words and punctuation, or subwords."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from lmjax.data.text import Vocabulary, build_vocabulary

__all__ = ["JOINER", "Tokenizer", "join_words", "learn_tokenizer", "split_words"]

JOINER = "\uffed"  # stands where two words had no space between them


def split_words(line: str) -> list[str]:
    """Return the words of a line, each punctuation mark and symbol a word of its own.

    One that had no space before it begins with the joiner, so that `join_words` finds the way back.

    >>> " ".join(split_words("Don't go.")).replace(JOINER, "+")
    "Don +' +t go +."

    References: the joiner is that of OpenNMT (Klein, Kim, Deng, Senellart and Rush, 2017).
    """
    words = []
    for run in line.split():
        begin = 0
        for i in range(1, len(run) + 1):
            if i == len(run) or _is_mark(run[i]) or _is_mark(run[i - 1]):
                words.append(JOINER * (begin > 0) + run[begin:i])
                begin = i
    return words


def join_words(words: Iterable[str]) -> str:
    """Return the line of words, single spaces between them.

    >>> join_words(split_words("  (Don't  go.)"))
    "(Don't go.)"
    """
    return " ".join(words).replace(f" {JOINER}", "").removeprefix(JOINER)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


@dataclass(frozen=True)
class Tokenizer:
    """One side of a translation: how its sentences are split, and the symbols that are known.

    >>> tokenizer = learn_tokenizer(["The cat sat.", "The dog sat."])
    >>> tokenizer.decode(tokenizer.encode("The dog sat."))
    'The dog sat.'
    """

    vocab: Vocabulary
    subwords: str | None = None  # what `tokenizers` learned, as its JSON; None: words

    def encode(self, line: str) -> list[int]:
        """Return the ids of a sentence and of its end. Unknown symbols are `<unk>`."""
        return self.vocab.encode(" ".join(self.split(line)) + "\n").tolist()

    def decode(self, ids: Iterable[int]) -> str:
        """Return the sentence of ids, to its end."""
        ids = takewhile(lambda i: i != self.vocab.eos, ids)
        symbols = [self.vocab.symbols[i] for i in ids]
        if self._model is None:
            return join_words(symbols)
        return self._model.decoder.decode(symbols).removeprefix(" ")

    def split(self, line: str) -> list[str]:
        """Return the symbols of a sentence, known or not."""
        return split_words(line) if self._model is None else self._model.encode(line).tokens

    @cached_property
    def _model(self):
        return None if self.subwords is None else _tokenizers().Tokenizer.from_str(self.subwords)


def learn_tokenizer(
    lines: Iterable[str], *, min_count: int = 1, subwords: int | None = None, name="text"
) -> Tokenizer:
    """Return the tokenizer of a text.

    Args:
        lines: its sentences.
        min_count: symbols seen less often are `<unk>`.
        subwords: learn so many symbols by byte pair encoding, with the package `tokenizers`; with
            them no word is unknown. None: words and punctuation marks.
        name: what an error calls the text.

    Raises:
        ValueError: fewer than two symbols are left, or `tokenizers` is missing.

    References: Sennrich, Haddow and Birch (2016), byte pair encoding.
    """
    lines = [*lines]
    model = None
    if subwords is not None:
        package = _tokenizers()
        learned = package.ByteLevelBPETokenizer(add_prefix_space=True)
        learned.train_from_iterator(lines, vocab_size=subwords, show_progress=False)
        model = learned.to_str()
    raw = Tokenizer(Vocabulary(("<eos>", "<unk>")), model)
    split = (" ".join(raw.split(line)) for line in lines)
    return Tokenizer(build_vocabulary(split, min_count=min_count, name=name), model)


def _tokenizers():
    try:
        import tokenizers
    except ImportError:
        raise ValueError(
            "subwords: need the package tokenizers: pip install 'lmjax[translation]'"
        ) from None
    return tokenizers
