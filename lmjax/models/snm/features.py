"""Features of a history: the words at given distances; and how often each was followed by what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmjax.checks import check_positive
from lmjax.models.ngram.counts import check

__all__ = ["Counts", "Table", "Types", "count", "feature_types", "is_ngram", "previous"]

Types = tuple[tuple[int, ...], ...]


class Table(NamedTuple):
    """The K features f of one type, and the words that followed each, with counts.

    A feature is its parent, which has one word less, and a word: those of parent p are in rows
    children[p] to children[p + 1] - 1, sorted by word. The words that followed feature f are in
    rows first[f] to first[f + 1] - 1, sorted.
    """

    children: np.ndarray  # int64 [parents + 1]
    word: np.ndarray  # int32 [K]
    first: np.ndarray  # int64 [K + 1]
    follower: np.ndarray  # int32 [L]
    counts: np.ndarray  # int64 [L]  C_fw
    totals: np.ndarray  # int64 [K]  C_f*

    def links(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the links of some features, one feature after the other: `(which, link)`."""
        sizes = self.first[features + 1] - self.first[features]
        which = np.repeat(np.arange(len(features)), sizes)
        begin = self.first[features] - (np.cumsum(sizes) - sizes)
        return which, np.arange(len(which)) + begin[which]


class Counts(NamedTuple):
    """The features of a text."""

    types: Types
    vocab_size: int
    ids: np.ndarray  # int64 [N]  the text
    tables: tuple[Table, ...]  # of each type
    rows: np.ndarray  # int64 [types, N]  the feature that is active at each position, -1 for none


def is_ngram(offsets: tuple[int, ...]) -> bool:
    """Return whether a feature of this type is the last words, without a gap."""
    return offsets == tuple(range(1, len(offsets) + 1))


def feature_types(order: int = 5, remote: int = 2, gap: int = 3, adjacent: int = 2) -> Types:
    """Return types of features, each as the distances of its words: (1, 2) are the last two.

    All n-grams of up to `order` words, the one predicted included; and skip-grams of a last words,
    a gap of s words, and r words before it, for 0 <= a <= `adjacent`, 1 <= s <= `gap` and
    1 <= r <= `remote`. Every type stands behind its parent, which lacks its last distance.

    >>> feature_types(3, remote=1, gap=2, adjacent=1)
    ((), (1,), (2,), (3,), (1, 2), (1, 3), (1, 4))
    """
    check_positive(order=order)
    ngrams = {tuple(range(1, k)) for k in range(1, order + 1)}
    skips = {
        (*range(1, a + 1), *range(a + s + 1, a + s + r + 1))
        for a in range(adjacent + 1)
        for s in range(1, gap + 1)
        for r in range(1, remote + 1)
    }
    prefixes = {offsets[:k] for offsets in ngrams | skips for k in range(len(offsets))}
    return tuple(sorted(ngrams | skips | prefixes, key=lambda offsets: (len(offsets), offsets)))


def previous(ids: np.ndarray, distance: int) -> np.ndarray:
    """Return the word that stands `distance` before each position, -1 before the beginning.

    >>> previous(np.array([5, 6, 7]), 2).tolist()
    [-1, -1, 5]
    """
    return np.concatenate([np.full(distance, -1), ids])[: len(ids)]


def count(ids, types: Types, *, vocab_size: int) -> Counts:
    """Count the features of every position of a text, with the word that stands there.

    Args:
        ids: int `[N]`, each from 0 to `vocab_size` - 1.
        types: see `feature_types`.
        vocab_size: V.

    >>> counts = count([0, 1, 0, 2], ((), (1,)), vocab_size=3)
    >>> table = counts.tables[1]
    >>> table.word.tolist(), table.follower.tolist(), counts.rows[1].tolist()
    ([0, 1], [1, 2, 0], [-1, 0, 1, 0])

    Raises:
        ValueError: the text is too short for a type of features, or holds a token that is not in
            the vocabulary.
    """
    ids = check(ids, 1, size=vocab_size, eos=0).astype(np.int64)
    needed = 1 + max((offset for offsets in types for offset in offsets), default=1)
    if len(ids) < needed:
        raise ValueError(
            f"ids: at least {needed} tokens are needed for features of the word {needed - 1} "
            f"before, got {len(ids)}"
        )
    tables: list[Table] = []
    rows = np.zeros((len(types), len(ids)), np.int64)
    for t, offsets in enumerate(types):
        children, word = np.array([0, 1]), np.zeros(1, np.int64)
        if offsets:
            parent = types.index(offsets[:-1])
            last = previous(ids, offsets[-1])
            known = (rows[parent] >= 0) & (last >= 0)
            pair = rows[parent, known] * vocab_size + last[known]
            key, inverse = np.unique(pair, return_inverse=True)
            children, word = _grouped(key, vocab_size, len(tables[parent].totals))
            rows[t] = -1
            rows[t, known] = inverse
        active = rows[t] >= 0
        key, links = np.unique(rows[t, active] * vocab_size + ids[active], return_counts=True)
        first, follower = _grouped(key, vocab_size, len(word))
        totals = np.bincount(key // vocab_size, links, len(word)).astype(np.int64)
        words = word.astype(np.int32), first, follower.astype(np.int32)
        tables.append(Table(children, *words, links, totals))
    return Counts(types, vocab_size, ids, tuple(tables), rows)


def _grouped(key: np.ndarray, vocab_size: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each group begins in sorted keys `group V + word`, and the words."""
    return np.searchsorted(key, np.arange(groups + 1) * vocab_size), key % vocab_size
