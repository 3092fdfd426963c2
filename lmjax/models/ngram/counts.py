"""Counting: the n-grams of a text, how often each was seen, and the shorter n-grams each contains.

The n-grams of a text are the groups of a suffix array of its histories: positions sorted by suffix,
that is by their word, then the word before, and so on to `order` words. One pass over the groups
for each length yields every table.

Words are numbered from 1, so that the start of a sentence, `<s>`, is 0 and sorts before every word.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

__all__ = ["Counts", "Grams", "check", "context_counts", "count"]

CHUNK = 1 << 18  # positions sorted together: the keys of one chunk stay in the processor's cache


class Grams(NamedTuple):
    """The K distinct n-grams of one length k, sorted by suffix: last word, the word before, ..."""

    word: np.ndarray  # int32 [K]  the last word
    context: np.ndarray  # int [K]  row of the first k-1 words among the (k-1)-grams
    suffix: np.ndarray  # int [K]  row of the last k-1 words among the (k-1)-grams
    seen: np.ndarray  # int64 [K]  how often
    start: np.ndarray  # bool [K]  begins with <s>


class Counts(NamedTuple):
    """The n-grams of a text by length: `grams[k - 1]` holds those of length k.

    The unigrams are all V + 1 words, `<s>` first, whether they occur or not.
    """

    grams: tuple[Grams, ...]
    eos: int  # the word that ends a sentence

    @property
    def order(self) -> int:
        """The greatest length."""
        return len(self.grams)


def count(ids, order: int, *, size: int, eos: int) -> Counts:
    """Count the n-grams of a stream of token ids, of every length up to `order`.

    Every sentence is preceded by one `<s>`, and no n-gram reaches past it.

    Args:
        ids: int `[N]`, each from 0 to `size` - 1; a sentence ends with `eos`, the last may lack it.
        order: n, the greatest length.
        size: V, the number of words.
        eos: the id that ends a sentence.

    Raises:
        ValueError: there are no tokens, an id is out of range, or `order` is below 1.

    >>> bigrams = count([3, 4, 0, 3, 3, 0], 2, size=5, eos=0).grams[1]
    >>> [*zip(bigrams.context.tolist(), bigrams.word.tolist(), bigrams.seen.tolist())]
    [(4, 1, 1), (5, 1, 1), (0, 4, 2), (4, 4, 1), (4, 5, 1)]
    """
    words, depth = pad(ids, order, size=size, eos=eos)
    place, level = sort_histories(words, depth, order)
    last, depth = words[place], depth[place]
    every = np.arange(size + 1, dtype=np.int32)
    none = np.zeros(size + 1, np.int32)
    grams = [Grams(every, none, none, np.bincount(words, minlength=size + 1), every == 0)]
    rank, row = (
        words,
        last,
    )  # row of the (k-1)-gram that ends at each position: as in the text, and sorted
    for k in range(2, order + 1):
        first = np.flatnonzero(level <= k)  # of each group of positions that share their k-gram
        sizes = np.diff(first, append=len(place))
        kept = depth[first] >= k
        at = first[kept]
        grams.append(Grams(last[at], rank[place[at] - 1], row[at], sizes[kept], depth[at] == k))
        if k < order:
            number = np.cumsum(kept, dtype=words.dtype) - 1
            row = np.repeat(np.where(kept, number, -1).astype(words.dtype), sizes)
            rank = np.empty_like(words)
            rank[place] = row
    return Counts(tuple(grams), eos + 1)


def context_counts(counts: Counts, k: int) -> np.ndarray:
    """Return count(h) for each context h of k words: how often a word followed it.

    The context of no words was followed by every token.

    >>> context_counts(count([3, 4, 0, 3, 3, 0], 2, size=5, eos=0), 1).tolist()
    [2, 0, 0, 0, 3, 1]
    """
    if k == 0:
        return np.array([counts.grams[0].seen[1:].sum()])
    longer = counts.grams[k]
    total = np.bincount(longer.context, longer.seen, len(counts.grams[k - 1].word))
    return total.astype(np.int64)


def pad(ids, order: int, *, size: int, eos: int) -> tuple[np.ndarray, np.ndarray]:
    """Precede every sentence by `<s>`.

    Returns:
        `(words, depth)`: the words, and how many of them, up to `order` + 1, the sentence holds up
        to each position, `<s>` included.
    """
    ids = check(ids, order, size=size, eos=eos)
    first = np.concatenate([[0], np.flatnonzero(ids[:-1] == eos) + 1])  # of each sentence
    starts = first + np.arange(len(first))
    length = len(ids) + len(first)
    words = np.insert(ids.astype(np.int32 if length < 1 << 31 else np.int64) + 1, first, 0)
    start = np.repeat(starts, np.diff(starts, append=length))
    depth = np.minimum(np.arange(length) - start + 1, order + 1)
    return words, depth.astype(np.uint8 if order < 255 else np.int32)


def check(ids, order: int, *, size: int, eos: int) -> np.ndarray:
    """Return the ids as an array, or refuse what cannot be counted."""
    ids = np.asarray(ids)
    if order < 1:
        raise ValueError(f"order: at least 1, got {order}")
    if not ids.size:
        raise ValueError("ids: the text holds no tokens")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids: integers [N], got {ids.dtype}{list(ids.shape)}")
    if not 0 <= eos < size:
        raise ValueError(f"eos: from 0 to {size - 1}, got {eos}")
    if ids.min() < 0 or ids.max() >= size:
        raise ValueError(f"ids: from 0 to {size - 1}, got {ids.min()} to {ids.max()}")
    return ids


def sort_histories(words, depth, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort positions by suffix: by word, then the word before, up to `order` words or `<s>`.

    Returns:
        `(place, level)`: the sorted positions, and for each the least k such that its k-gram
        differs from that of the position sorted before it (`order` + 1 if none does).
    """
    place = np.arange(len(words), dtype=words.dtype)
    level = np.full(len(words), order + 1, depth.dtype)
    level[0] = 0
    active = np.arange(
        len(words), dtype=words.dtype
    )  # those that share their k-gram with a neighbour
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for k in range(1, order + 1):
            first = level[active] < k
            starts = np.append(np.flatnonzero(first), len(active))
            chunks = np.append(np.arange(0, len(active), CHUNK), len(active))
            cuts = np.unique(starts[np.searchsorted(starts, chunks)])  # no group is cut in two

            def refine(begin, end, k=k, first=first, active=active):
                slots = active[begin:end]
                at = place[slots]
                group = np.cumsum(first[begin:end], dtype=np.uint64) - np.uint64(1)
                index = np.arange(end - begin, dtype=np.uint64)
                word = words[at - (k - 1)].astype(np.uint64)
                # group, word and index in one number: integers sort faster than tuples
                bits = [int(x.max()).bit_length() for x in (word, index)]
                keys = (((group << np.uint64(bits[0])) | word) << np.uint64(bits[1])) | index
                keys.sort()
                place[slots] = at[keys & np.uint64((1 << bits[1]) - 1)]
                keys >>= np.uint64(bits[1])
                differs = (keys[1:] != keys[:-1]) & ~first[begin + 1 : end]
                level[slots[1:][differs]] = k

            list(pool.map(refine, cuts[:-1], cuts[1:]))
            same = level[active] > k
            same[:-1] |= same[1:]
            active = active[same & (depth[place[active]] > k)]
    return place, level
