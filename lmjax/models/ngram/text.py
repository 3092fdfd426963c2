"""Text as n-gram toolkits take it: words numbered as they appear, and `<unk>` reserved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from lmjax.data import EOS, UNK, Vocabulary, tokenize

__all__ = ["read_text"]

SPECIAL = ("<s>", "</s>", UNK)


def read_text(lines: Iterable[str], *, skip_symbols: bool = False) -> tuple[np.ndarray, Vocabulary]:
    """Encode lines as lmplz does: ids by first appearance after `<unk>` and the sentence's end.

    Every line is a sentence, an empty one too. `<unk>` is never in the text: it stands for every
    word outside of it and gets what the discounts leave.

    Args:
        lines: without their newlines, see `data.read_lines`.
        skip_symbols: take `<s>`, `</s>` and `<unk>` in the text for white space.

    Returns:
        `(ids, vocab)`: int32 `[N]` with the end of each line, and the words.

    >>> ids, vocab = read_text(["b a b", ""])
    >>> ids.tolist(), vocab.symbols
    ([2, 3, 2, 1, 1], ('<unk>', '<eos>', 'b', 'a'))

    Raises:
        ValueError: a reserved symbol is in the text, or there is no line or no word.
    """
    index: defaultdict[str, int] = defaultdict(None, {UNK: 0, EOS: 1})
    index.default_factory = index.__len__
    number = 0

    def sentences() -> Iterator[list[str]]:
        nonlocal number
        for number, line in enumerate(lines, 1):
            tokens = tokenize(line)
            if "<" in line:
                reserved = next((t for t in tokens[:-1] if t in SPECIAL or t == EOS), None)
                if reserved and (reserved == EOS or not skip_symbols):
                    raise ValueError(f"text: line {number} holds the reserved symbol {reserved}")
                tokens = [t for t in tokens if t not in SPECIAL]
            yield tokens

    ids = np.fromiter(map(index.__getitem__, chain.from_iterable(sentences())), np.int32)
    if len(index) == 2:
        raise ValueError(f"text: no words in {number} lines")
    return ids, Vocabulary(tuple(index))
