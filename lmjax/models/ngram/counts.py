"""Counting: which n-grams a text holds, how often, and how those of one length hang on those of the next shorter.

A text's n-grams are the groups of a suffix array of its histories: positions sorted by their word, then
the word before, and so on to `order` words. One pass over the groups an order yields every table.

Words are numbered from 1, so that the start of a sentence, `<s>`, is 0 and sorts before every word.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

__all__ = ["Counts", "Grams", "count"]

CHUNK = 1 << 18  # positions sorted together: the keys of one chunk stay in the processor's cache


class Grams(NamedTuple):
    """The K distinct n-grams of one length k, sorted by last word, then the word before, and so on."""

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
    grams = []
    rank, row = words, last  # row of the k-gram that ends at each position, and the same in sorted order
    for k in range(1, order + 1):
        first = np.flatnonzero(level <= k)
        sizes = np.diff(first, append=len(place))
        kept = depth[first] >= k
        at = first[kept]
        if k == 1:
            counts = np.bincount(words, minlength=size + 1)
            none = np.zeros(size + 1, np.int32)
            grams.append(Grams(np.arange(size + 1, dtype=np.int32), none, none, counts, none == np.arange(size + 1)))
            continue
        grams.append(Grams(last[at], rank[place[at] - 1], row[at], sizes[kept], depth[at] == k))
        if k < order:
            row = np.repeat(np.where(kept, np.cumsum(kept, dtype=words.dtype) - 1, -1).astype(words.dtype), sizes)
            rank = np.empty_like(words)
            rank[place] = row
    return Counts(tuple(grams), eos + 1)


def pad(ids, order: int, *, size: int, eos: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the words with `<s>` before every sentence, and how many words, up to `order` + 1, end at each."""
    ids = check(ids, order, size=size, eos=eos)
    first = np.concatenate([[0], np.flatnonzero(ids[:-1] == eos) + 1])  # of each sentence
    starts = first + np.arange(len(first))
    length = len(ids) + len(first)
    words = np.insert(ids.astype(np.int32 if length < 1 << 31 else np.int64) + 1, first, 0)
    depth = np.minimum(np.arange(length) - np.repeat(starts, np.diff(starts, append=length)) + 1, order + 1)
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
    """Sort positions by word, then the word before, and so on, up to `order` words or `<s>`.

    Returns:
        `(place, level)`: the sorted positions, and for each the least k such that its k-gram differs from
        that of the position sorted before it (`order` + 1 if none does).
    """
    place = np.arange(len(words), dtype=words.dtype)
    level = np.full(len(words), order + 1, depth.dtype)
    level[0] = 0
    active = np.arange(len(words), dtype=words.dtype)  # slots that share their k-gram with a neighbour
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for k in range(1, order + 1):
            first = level[active] < k
            starts = np.append(np.flatnonzero(first), len(active))
            cuts = np.unique(starts[np.searchsorted(starts, np.append(np.arange(0, len(active), CHUNK), len(active)))])

            def refine(begin, end, k=k, first=first, active=active):
                slots = active[begin:end]
                at = place[slots]
                group = np.cumsum(first[begin:end], dtype=np.uint64) - np.uint64(1)
                index = np.arange(end - begin, dtype=np.uint64)
                word = words[at - (k - 1)].astype(np.uint64)
                bits = [int(x.max()).bit_length() for x in (word, index)]
                keys = (((group << np.uint64(bits[0])) | word) << np.uint64(bits[1])) | index
                keys.sort()
                place[slots] = at[keys & np.uint64((1 << bits[1]) - 1)]
                keys >>= np.uint64(bits[1])
                level[slots[1:][(keys[1:] != keys[:-1]) & ~first[begin + 1 : end]]] = k

            list(pool.map(refine, cuts[:-1], cuts[1:]))
            same = level[active] > k
            same[:-1] |= same[1:]
            active = active[same & (depth[place[active]] > k)]
    return place, level
