"""Kneser-Ney and modified Kneser-Ney, interpolated and pruned as KenLM's lmplz does it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lmjax.models.ngram.counts import Counts
from lmjax.models.ngram.model import Estimate, listed
from lmjax.models.ngram.smoothing import NoDiscounts

__all__ = ["FALLBACK", "discounts", "kept_words", "kneser_ney", "modified_kneser_ney"]

f32 = np.float32
FALLBACK = (0.5, 1.0, 1.5)  # D_1, D_2, D_3+ of `lmplz --discount_fallback`


def kneser_ney(
    counts: Counts, *, discount: float | None = None, fallback: float | None = None
) -> Estimate:
    """Estimate by interpolated Kneser-Ney with one discount a length.

        P(w | h) = max(a(h w) - D, 0) / sum_v a(h v) + gamma(h) P(w | h without its first word)
        D = n_1 / (n_1 + 2 n_2)

    a is the adjusted count: the count for the longest n-grams and those that begin a sentence, and
    else the number of distinct words to the left. With D = 0 it is the maximum likelihood estimate
    on every context seen.

    Args:
        counts: the n-grams of a text.
        discount: D for every length in place of the estimate, in [0, 1].
        fallback: D for a length on which the text allows no estimate, in [0, 1]; 0.75 is what
            Church and Gale found on held-out text.

    Raises:
        ValueError: a discount is out of range.
        NoDiscounts: the text holds no n-gram of count 1 or none of count 2, and there is no
            fallback.

    References: Kneser and Ney (1995); Chen and Goodman (1999), section 4.1; Church and Gale (1991).
    """
    for name, d in (("discount", discount), ("fallback", fallback)):
        if d is not None and not 0 <= d <= 1:
            raise ValueError(f"{name}: in [0, 1], got {d}")
    table = []
    for k, n in enumerate(_counts_of_counts(counts), 1):
        d = discount
        if d is None:
            d = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else fallback
        if d is None:
            raise NoDiscounts(
                f"no Kneser-Ney discount for {k}-grams, of which {n[1:3].tolist()} have count 1, 2"
            )
        table.append([0, d, d, d])
    return _interpolated(counts, np.array(table, f32))


def modified_kneser_ney(
    counts: Counts,
    *,
    prune: tuple[int, ...] = (),
    fallback: tuple[float, float, float] | None = None,
    words=None,
    vocab_pad: int = 0,
    interpolate_unigrams: bool = True,
) -> Estimate:
    """Estimate by interpolated modified Kneser-Ney, as KenLM's lmplz does, in its single precision.

        P(w | h) = (a(h w) - D(a(h w))) / sum_v a(h v) + gamma(h) P(w | h without its first word)
        gamma(h) = (D_1 m_1(h) + D_2 m_2(h) + D_3 m_3+(h) + pruned(h)) / sum_v a(h v)

    a as in `kneser_ney`; D depends on a = 1, 2 or more, see `discounts`; m_j(h) is the number of
    words that follow h with a = j; pruned(h) is the sum of a over what was pruned. Unigrams are
    interpolated with the uniform distribution. n-grams, discounts and results are those of lmplz.

    Args:
        counts: the n-grams of a text.
        prune: n-grams of length k seen no more often than `prune[k - 1]` are dropped; the last
            threshold holds for all longer ones.
        fallback: D_1, D_2, D_3+ for a length on which the text allows no estimate; lmplz takes
            `FALLBACK`, 0.5, 1 and 1.5.
        words: bool `[V]`, words to keep; n-grams with others are dropped (see `kept_words`).
        vocab_pad: the uniform distribution is over this many words if there are fewer.
        interpolate_unigrams: if false, words never seen share what the unigrams' discounts free.

    Returns:
        A model over the words kept, renumbered if some were dropped.

    Raises:
        ValueError: an option is out of range.
        NoDiscounts: a discount cannot be estimated and there is no fallback.

    References: Chen and Goodman (1999); Heafield, Pouzyrevsky, Clark and Koehn (2013).
    """
    return _interpolated(
        counts,
        discounts(counts, fallback=fallback),
        prune=prune,
        keep=kept_words(counts, prune=prune, words=words),
        vocab_pad=vocab_pad,
        interpolate_unigrams=interpolate_unigrams,
    )


def discounts(counts: Counts, *, fallback: tuple[float, float, float] | None = None) -> np.ndarray:
    """Return the discounts D(0), D_1, D_2, D_3+ of modified Kneser-Ney by length, float32 `[n, 4]`.

        D_j = j - (j + 1) Y n_{j+1} / n_j,   Y = n_1 / (n_1 + 2 n_2)

    Raises:
        NoDiscounts: some n_j is 0 or some D_j is not in [0, j], and there is no fallback.

    References: Chen and Goodman (1999), equation 26.
    """
    if fallback is not None and not all(0 <= d <= j for j, d in enumerate(fallback, 1)):
        raise ValueError(f"fallback: D_1, D_2, D_3+ with 0 <= D_j <= j, got {fallback}")
    table = np.zeros((counts.order, 4), f32)
    for k, n in enumerate(_counts_of_counts(counts), 1):
        if n[1:4].all():
            y = f32(n[1]) / f32(n[1] + 2.0 * n[2])
            d = [f32(j) - f32(j + 1) * y * f32(n[j + 1]) / f32(n[j]) for j in (1, 2, 3)]
            if all(0 <= d_j <= j for j, d_j in enumerate(d, 1)):
                table[k - 1, 1:] = d
                continue
        if fallback is None:
            raise NoDiscounts(
                f"no Kneser-Ney discounts for {k}-grams, "
                f"of which {n[1:].tolist()} have count 1, 2, 3, 4"
            )
        table[k - 1, 1:] = fallback
    return table


def kept_words(counts: Counts, *, prune: tuple[int, ...] = (), words=None) -> np.ndarray:
    """Return which words pruning keeps, bool `[V]`.

    Of `words`, default all, those seen more than `prune[0]` times or never: a word never seen
    stands for the unknown ones. The end of a sentence is always kept.
    """
    seen = counts.grams[0].seen[1:]
    keep = np.ones(len(seen), bool) if words is None else np.asarray(words, bool).copy()
    if keep.shape != seen.shape:
        raise ValueError(f"words: bool [{len(seen)}], got {list(keep.shape)}")
    keep[(seen > 0) & (seen <= (prune[0] if prune else 0))] = False
    keep[counts.eos - 1] = True
    return keep


def _interpolated(
    counts, discount, *, prune=(), keep=None, vocab_pad=0, interpolate_unigrams=True
) -> Estimate:
    """Discount, interpolate and prune, length by length, in float32 as lmplz does."""
    if vocab_pad < 0:
        raise ValueError(f"vocab_pad: at least 0, got {vocab_pad}")
    kept = _kept(counts, prune, keep)
    adjusted = _adjusted(counts)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        contexts = [1, *(len(grams.word) for grams in counts.grams[:-1])]
        parts = pool.map(_discounted, counts.grams, adjusted, kept, contexts, discount)
        own, gamma = zip(*parts, strict=True)
        if interpolate_unigrams:
            p = [own[0] + gamma[0] * (f32(1) / f32(max(vocab_pad, kept[0][1:].sum())))]
        else:
            unknown = (adjusted[0] == 0) & kept[0]
            unknown[0] = False
            if not unknown.any():
                raise ValueError(
                    "interpolate_unigrams: false, but there is no word never seen to take the rest"
                )
            p = [np.where(unknown, gamma[0] / f32(unknown.sum()), own[0])]
        p[0][0] = 1  # <s>
        for grams, u, share in zip(counts.grams[1:], own[1:], gamma[1:], strict=True):
            p.append(u + share[grams.context] * p[-1][grams.suffix])
        logp = [np.minimum(x, f32(0)) for x in pool.map(_log10, p)]
        backoff = list(pool.map(_log10, gamma[1:]))
    return listed(counts, logp, backoff, kept=kept)


def _kept(counts, prune, words) -> list[np.ndarray]:
    """Return by length which n-grams pruning keeps, each of them with its context."""
    order = counts.order
    if list(prune) != sorted(prune) or len(prune) > order or min(prune, default=0) < 0:
        raise ValueError(f"prune: up to {order} thresholds that do not decrease, got {prune}")
    thresholds = [*prune, *[prune[-1] if prune else 0] * (order - len(prune))]
    word = np.ones(len(counts.grams[0].word), bool)
    if words is not None:
        word[1:] = words
    kept = [word]
    for grams, threshold in zip(counts.grams[1:], thresholds[1:], strict=True):
        kept.append(word[grams.word] & kept[-1][grams.context] & (grams.seen > threshold))
    return kept


def _discounted(grams, a, keep, contexts, discount) -> tuple[np.ndarray, np.ndarray]:
    """Return (a(h w) - D(a(h w))) / sum_v a(h v) of each n-gram, and gamma(h) of each context."""
    total = np.bincount(grams.context, a, contexts)
    level = np.minimum(a, 3)  # which of D_1, D_2, D_3+ applies
    cell = 4 * grams.context.astype(np.int64) + level * keep
    m = np.bincount(cell, minlength=4 * contexts).reshape(-1, 4)
    gamma = np.zeros(contexts, f32)
    for j in (1, 2, 3):
        gamma += discount[j] * m[:, j].astype(f32)
    gamma += np.bincount(grams.context[~keep], a[~keep], contexts).astype(f32)
    denominator = np.maximum(total, 1).astype(f32)
    gamma /= denominator
    gamma[total == 0] = 1
    return (a.astype(f32) - discount[level]) / denominator[grams.context], gamma


def _log10(x):
    """Return what C's log10f gives, as lmplz has it.

    NumPy has an AVX-512 version of its own, which differs in the last bit; it does not take arrays
    that run backwards.
    """
    with np.errstate(divide="ignore"):
        return np.log10(x[::-1])[::-1]


def _adjusted(counts) -> list[np.ndarray]:
    """Return the adjusted counts a by length.

    The count for the longest n-grams and after `<s>`, else the number of distinct words to the
    left.
    """
    result = []
    for grams, longer in zip(counts.grams, counts.grams[1:], strict=False):
        left = np.bincount(longer.suffix, minlength=len(grams.word))
        result.append(np.where(grams.start, grams.seen, left))
    result.append(counts.grams[-1].seen.copy())
    result[0][0] = 0
    return result


def _counts_of_counts(counts) -> list[np.ndarray]:
    """Return n_0 to n_4 by length: how many n-grams have a = 0..4.

    Of each length but the greatest, lmplz takes the n-gram that is sorted last with its plain
    count.
    """
    table = []
    reached = True  # the history sorted last is this long
    for k, (grams, a) in enumerate(zip(counts.grams, _adjusted(counts), strict=True), 1):
        if reached and k < counts.order:
            last = np.flatnonzero(grams.seen)[-1]
            a[last] = grams.seen[last]
            reached = not grams.start[last]
        table.append(np.bincount(np.minimum(a[k == 1 :], 5), minlength=6)[:5])
    return table
