"""A backoff model, as a list of n-grams (`Estimate`) and as arrays for lookups (`NGram`).

    P(w | h) = P*(w | h) if the n-gram h w is in the model,
               else b(h) P(w | h without its first word)

Both forms hold log10 P* of every n-gram and log10 b, the backoff weight, of every context: base 10
as in ARPA files, which keep it exactly. Words are numbered from 1; 0 is `<s>`, which is a context
and never predicted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from lmjax.models.ngram.counts import Counts

__all__ = ["Entries", "Estimate", "Level", "NGram", "Quantised", "listed"]


class Entries(NamedTuple):
    """The K n-grams of one length k and their values; of length 1 all words, `<s>` first."""

    word: np.ndarray  # int32 [K]  the last word
    context: np.ndarray  # int [K]  row of the first k-1 words among the (k-1)-grams
    log10p: np.ndarray  # float32 [K]
    log10b: Any  # float32 [K]; () for the longest


class Estimate(NamedTuple):
    """A backoff model as a list of n-grams, as in ARPA files: `entries[k - 1]` are of length k."""

    entries: tuple[Entries, ...]
    eos: int  # the token id that ends a sentence
    unseen: float = 0.0  # log10 backoff weight of a context that is not in the model


class Quantised(NamedTuple):
    """Values as indices into a table of 256."""

    code: jax.Array  # uint8 [K]
    table: jax.Array  # float32 [256]


class Level(NamedTuple):
    """The K n-grams of one length k, sorted by context, then by the word's slot (see `index`).

    The words that follow context c are in rows first[c] to first[c + 1] - 1; those of them whose
    slot is i are in rows i + shift[i] to i + shift[i + 1].
    """

    first: jax.Array  # int32 [contexts + 1]
    shift: Any  # int8, 16 or 32 [K + 1]; () for unigrams
    word: jax.Array  # int32 [K]
    log10p: Any  # float32 [K] or Quantised  log10 P*(word | context)
    log10b: Any  # float32 [K] or Quantised  log10 backoff weight; () for the longest


class NGram(NamedTuple):
    """A backoff model: `levels[k - 1]` holds the n-grams of length k."""

    levels: tuple[Level, ...]
    eos: jax.Array  # int32 []  the token id that ends a sentence
    unseen: jax.Array  # float32 []  log10 weight of a context not in the model; 0 where P sums to 1

    @property
    def order(self) -> int:
        """N, the greatest length."""
        return len(self.levels)

    @property
    def vocab_size(self) -> int:
        """V, the number of words that can be predicted."""
        return len(self.levels[0].word) - 1


def listed(counts: Counts, log10p, log10b, *, kept=None, unseen: float = 0.0) -> Estimate:
    """List the n-grams of a text with their estimated values, without those that are pruned.

    Args:
        counts: the n-grams of a text.
        log10p: by length, float `[K]`.
        log10b: by length but the greatest, float `[K]`.
        kept: by length, bool `[K]`: which n-grams stay, default all. The context of one that stays
            must stay too.
        unseen: log10 backoff weight of a context never seen.
    """
    f32 = np.float32
    log10p[0][0] = 0  # <s>, which is never predicted
    values = zip(counts.grams, log10p, [*log10b, ()], strict=True)
    columns = [(grams.word, grams.context, p, b) for grams, p, b in values]
    eos = counts.eos
    if kept is not None and not all(keep.all() for keep in kept):
        row = [
            np.cumsum(keep, dtype=np.int32) - 1 for keep in kept
        ]  # by length, in the shorter list
        pruned = []
        for k, ((word, context, p, b), keep) in enumerate(zip(columns, kept, strict=True)):
            word, context, p = row[0][word[keep]], context[keep], p[keep]
            context = row[k - 1][context] if k else context
            pruned.append((word, context, p, () if isinstance(b, tuple) else b[keep]))
        columns = pruned
        eos = int(row[0][eos])
    entries = [
        Entries(word, context, p.astype(f32), () if isinstance(b, tuple) else b.astype(f32))
        for word, context, p, b in columns
    ]
    return Estimate(tuple(entries), eos - 1, unseen)
