"""Text as n-gram toolkits take it: words numbered as they appear, and `<unk>` reserved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain

import numpy as np

from lmjax.data import EOS, UNK, Vocabulary
from lmjax.data.text import RESERVED, tokenize_lines

__all__ = ["read_text"]


def read_text(
    lines: Iterable[str], *, skip_symbols: bool = False, name="text"
) -> tuple[np.ndarray, Vocabulary]:
    """Encode lines as lmplz does: ids by first appearance after `<unk>` and the sentence's end.

    Every line is a sentence, an empty one too. `<unk>` is never in the text: it stands for every
    word outside of it and gets what the discounts leave.

    Args:
        lines: without their newlines, see `data.read_lines`.
        skip_symbols: take `<s>`, `</s>` and `<unk>` in the text for white space.
        name: what an error calls the text.

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
    special = {*RESERVED, UNK}
    skipped = special - {EOS} if skip_symbols else set()
    sentences = tokenize_lines(lines, name=name, reserved=special - skipped)
    words = chain.from_iterable(sentences)
    kept = (word for word in words if word not in skipped) if skipped else words
    ids = np.fromiter(map(index.__getitem__, kept), np.int32)
    if len(index) == 2:
        raise ValueError(f"{name}: no words in {len(ids)} lines")
    return ids, Vocabulary(tuple(index))
