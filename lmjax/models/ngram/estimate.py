"""Estimation: from counts to a backoff model, by every method of the lecture and the ones it leads to."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lmjax.models.ngram.counts import Counts
from lmjax.models.ngram.model import Entries, Estimate

__all__ = [
    "add_delta",
    "discounts",
    "katz",
    "kept_words",
    "kneser_ney",
    "mle",
    "modified_kneser_ney",
    "stupid_backoff",
]

f32 = np.float32


def mle(counts: Counts) -> Estimate:
    """Estimate by maximum likelihood: P(w | h) = count(h w) / count(h).

    The lecture's first model, with both of its problems: a word never seen after h has probability 0
    (log-probability -inf), and after an h never seen no word has a probability (nan).

    >>> from lmjax.models.ngram import count, index, log_prob
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 3, size=4, eos=0)))
    >>> [round(float(x), 4) for x in log_prob(model, np.array([1, 2, 2, 3]))]
    [0.0, -0.6931, -inf, nan]
    """
    logp = [_relative(counts, k) for k in range(counts.order)]
    backoff = [np.where(_totals(counts, k) > 0, -np.inf, np.nan) for k in range(1, counts.order)]
    return _listed(counts, logp, backoff, unseen=np.nan)


def add_delta(counts: Counts, delta: float = 1.0) -> Estimate:
    """Add delta to every count: P(w | h) = (count(h w) + delta) / (count(h) + delta V).

    The lecture's smoothing. A context never seen yields the uniform distribution.

    Args:
        counts: the n-grams of a text.
        delta: above 0; 1 is Laplace's rule.

    >>> from lmjax.models.ngram import count, index, log_prob
    >>> model = index(add_delta(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0)))
    >>> [round(float(p), 4) for p in np.exp(log_prob(model, np.array([1, 2])))]
    [0.5, 0.3333]

    Raises:
        ValueError: delta is not above 0.

    References: Lidstone (1920).
    """
    if not 0 < delta < np.inf:
        raise ValueError(f"delta: above 0, got {delta}")
    size = len(counts.grams[0].word) - 1
    logp, backoff = [], []
    for k, grams in enumerate(counts.grams):
        total = _totals(counts, k)[grams.context] + delta * size
        whole = grams.start if k + 1 < counts.order else np.ones(len(grams.word), bool)  # nothing longer applies
        logp.append(np.where(whole, np.log10((grams.seen + delta) / total), -np.log10(size)))
        if k + 1 < counts.order:
            context = (_totals(counts, k + 1) > 0) & (grams.start if k + 2 < counts.order else True)
            backoff.append(np.where(context, np.log10(delta * size / (_totals(counts, k + 1) + delta * size)), 0.0))
    return _listed(counts, logp, backoff)


def stupid_backoff(counts: Counts, alpha: float = 0.4) -> Estimate:
    """Score by relative frequency, or alpha times the score of the shorter context.

        S(w | h) = count(h w) / count(h) if h w was seen, else alpha S(w | h without its first word)

    A score, not a distribution: over the vocabulary it does not sum to 1, and no perplexity follows from it.

    >>> from lmjax.models.ngram import count, index, log_prob
    >>> model = index(stupid_backoff(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0)))
    >>> round(float(np.exp(log_prob(model, np.array([2]))[0])), 4)
    0.0667

    Raises:
        ValueError: alpha is not in (0, 1].

    References: Brants, Popat, Xu, Och and Dean (2007).
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha: in (0, 1], got {alpha}")
    logp = [_relative(counts, k) for k in range(counts.order)]
    return _listed(counts, logp, [np.full(len(x), np.log10(alpha)) for x in logp[:-1]], unseen=np.log10(alpha))


def katz(counts: Counts, largest: int = 5) -> Estimate:
    """Back off with Good-Turing discounts d_r for counts r up to `largest`.

        P(w | h) = d_r count(h w) / count(h) if h w was seen r times, else b(h) P(w | h without its first word)
        d_r = (r*/r - A) / (1 - A),   r* = (r + 1) n_{r+1} / n_r,   A = (K + 1) n_{K+1} / n_1,   K = largest

    n_r n-grams of a length were seen r times. Unigrams are discounted only if there are words never seen,
    which share n_1 / (N + n_1) of N tokens. A context whose counts all exceed `largest` would leave nothing
    for other words: it counts one occurrence more.

    Raises:
        ValueError: the text is too small for the discounts of some length.

    References: Katz (1987); Chen and Goodman (1999), section 2.4.
    """
    if largest < 1:
        raise ValueError(f"largest: at least 1, got {largest}")
    size = len(counts.grams[0].word) - 1
    logp, backoff = [], []
    for k, grams in enumerate(counts.grams):
        if k == 0:
            seen = grams.seen[1:]
            never = int((seen == 0).sum())
            mass = max(int((seen == 1).sum()), 1) if never else 0
            p = np.where(grams.seen > 0, grams.seen, mass / max(never, 1)) / (seen.sum() + mass)
        else:
            followed = np.bincount(grams.context, minlength=len(p))
            total = _totals(counts, k).astype(float)
            discounted = grams.seen * _good_turing(grams.seen, k + 1, largest)
            total += np.bincount(grams.context, discounted, len(p)) >= total  # nothing left
            longer = discounted / total[grams.context]
            left = 1 - np.bincount(grams.context, longer, len(p))
            spare = 1 - np.bincount(grams.context, p[grams.suffix], len(p))
            with np.errstate(divide="ignore", invalid="ignore"):
                backoff.append(np.where((followed > 0) & (followed < size), np.log10(left / spare), 0.0))
            p = longer
        logp.append(np.log10(p))
    return _listed(counts, logp, backoff)


def _good_turing(count, k, largest) -> np.ndarray:
    """Return the factor by which each k-gram's count is discounted."""
    n = np.bincount(np.minimum(count, largest + 2), minlength=largest + 3)
    r = np.arange(1, largest + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (largest + 1) * n[largest + 1] / n[1]
        rate = ((r + 1) * n[2 : largest + 2] / (r * n[1 : largest + 1]) - a) / (1 - a)
    if not np.all((rate > 0) & (rate <= 1)):
        raise ValueError(
            f"katz: no Good-Turing discounts for {k}-grams, of which {n[1 : largest + 2].tolist()} were seen "
            f"1 to {largest + 1} times: the text is too small, or lower largest={largest}"
        )
    return np.append(rate, 1)[np.minimum(count, largest + 1) - 1]


def kneser_ney(counts: Counts, *, discount: float | None = None) -> Estimate:
    """Estimate by interpolated Kneser-Ney with one discount a length.

        P(w | h) = max(a(h w) - D, 0) / sum_v a(h v) + gamma(h) P(w | h without its first word)
        D = n_1 / (n_1 + 2 n_2)

    a is the count for the longest n-grams and those that begin a sentence, and else the number of distinct
    words to the left. With D = 0 it is the maximum likelihood estimate on every context seen.

    Args:
        counts: the n-grams of a text.
        discount: D for every length in place of the estimate, in [0, 1].

    Raises:
        ValueError: the discount is out of range, or the text holds no n-gram of count 1 or none of count 2.

    References: Kneser and Ney (1995); Chen and Goodman (1999), section 4.1.
    """
    if discount is not None and not 0 <= discount <= 1:
        raise ValueError(f"discount: in [0, 1], got {discount}")
    table = []
    for k, n in enumerate(_counts_of_counts(counts), 1):
        if discount is None and not (n[1] and n[2]):
            raise ValueError(f"kneser_ney: {n[1]} and {n[2]} {k}-grams of count 1 and 2: no discount follows; give one")
        table.append([0, *[n[1] / (n[1] + 2 * n[2]) if discount is None else discount] * 3])
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

    a as in `kneser_ney`; D depends on a = 1, 2 or more, see `discounts`; m_j(h) is the number of words that
    follow h with a = j; pruned(h) is the sum of a over what was pruned. Unigrams are interpolated with the
    uniform distribution. n-grams, discounts and results are those of lmplz.

    Args:
        counts: the n-grams of a text.
        prune: n-grams of length k seen no more often than `prune[k - 1]` are dropped; the last threshold
            holds for all longer ones.
        fallback: D_1, D_2, D_3+ for a length on which the text allows no estimate.
        words: bool `[V]`, words to keep; n-grams with others are dropped (see `kept_words`).
        vocab_pad: the uniform distribution is over this many words if there are fewer.
        interpolate_unigrams: if false, words never seen share what the unigrams' discounts free.

    Returns:
        A model over the words kept, renumbered if some were dropped.

    Raises:
        ValueError: an option is out of range, or a discount cannot be estimated and there is no fallback.

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
        ValueError: some n_j is 0 or some D_j is not in [0, j], and there is no fallback.

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
            raise ValueError(
                f"no Kneser-Ney discounts for {k}-grams, of which {n[1:].tolist()} have count 1, 2, 3, 4: "
                "the text is too small or artificial; give a fallback, e.g. (0.5, 1, 1.5)"
            )
        table[k - 1, 1:] = fallback
    return table


def kept_words(counts: Counts, *, prune: tuple[int, ...] = (), words=None) -> np.ndarray:
    """Return which words a model keeps, bool `[V]`: of `words` those seen more than `prune[0]` times, or never.

    A word never seen stands for the unknown ones. The end of a sentence is always kept.
    """
    seen = counts.grams[0].seen[1:]
    keep = np.ones(len(seen), bool) if words is None else np.asarray(words, bool).copy()
    if keep.shape != seen.shape:
        raise ValueError(f"words: bool [{len(seen)}], got {list(keep.shape)}")
    keep[(seen > 0) & (seen <= (prune[0] if prune else 0))] = False
    keep[counts.eos - 1] = True
    return keep


def _interpolated(counts, discount, *, prune=(), keep=None, vocab_pad=0, interpolate_unigrams=True) -> Estimate:
    """Discount, interpolate and prune, length by length, in float32 as lmplz does."""
    if list(prune) != sorted(prune) or len(prune) > counts.order or min(prune, default=0) < 0:
        raise ValueError(f"prune: up to {counts.order} thresholds that do not decrease, got {prune}")
    if vocab_pad < 0:
        raise ValueError(f"vocab_pad: at least 0, got {vocab_pad}")
    thresholds = [*prune, *[prune[-1] if prune else 0] * (counts.order - len(prune))]
    size = len(counts.grams[0].word) - 1
    words = np.ones(size + 1, bool)
    if keep is not None:
        words[1:] = keep
    adjusted, kept = _adjusted(counts), [words]
    for grams, threshold in zip(counts.grams[1:], thresholds[1:], strict=True):
        kept.append(words[grams.word] & kept[-1][grams.context] & (grams.seen > threshold))

    def discounted(k, grams, a, keep):
        contexts = len(counts.grams[k - 1].word) if k else 1
        total = np.bincount(grams.context, a, contexts)
        level = np.minimum(a, 3)
        m = np.bincount(4 * grams.context.astype(np.int64) + level * keep, minlength=4 * contexts).reshape(-1, 4)
        gamma = np.zeros(contexts, f32)
        for j in (1, 2, 3):
            gamma += discount[k, j] * m[:, j].astype(f32)
        gamma += np.bincount(grams.context[~keep], a[~keep], contexts).astype(f32)
        denominator = np.maximum(total, 1).astype(f32)
        gamma /= denominator
        gamma[total == 0] = 1
        return (a.astype(f32) - discount[k][level]) / denominator[grams.context], gamma

    def log10(x):
        """Return what C's log10f gives, as lmplz does: backwards, where NumPy has no AVX-512 version of its own."""
        with np.errstate(divide="ignore"):
            return np.log10(x[::-1])[::-1]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        own, gamma = zip(*pool.map(discounted, range(counts.order), counts.grams, adjusted, kept), strict=True)
        p = [own[0] + gamma[0] * (f32(1) / f32(max(vocab_pad, words[1:].sum())))]
        if not interpolate_unigrams:
            unknown = (adjusted[0] == 0) & words
            unknown[0] = False
            if not unknown.any():
                raise ValueError("interpolate_unigrams: false, but there is no word never seen to take the rest")
            p = [np.where(unknown, gamma[0] / f32(unknown.sum()), own[0])]
        p[0][0] = 1  # <s>
        for grams, u, share in zip(counts.grams[1:], own[1:], gamma[1:], strict=True):
            p.append(u + share[grams.context] * p[-1][grams.suffix])
        logp = [np.minimum(x, f32(0)) for x in pool.map(log10, p)]
        backoff = list(pool.map(log10, gamma[1:]))
    return _listed(counts, logp, backoff, kept=kept)


def _totals(counts, k) -> np.ndarray:
    """Return how often each n-gram of length k was followed by a word; for k = 0 the number of tokens."""
    if k == 0:
        return np.array([counts.grams[0].seen[1:].sum()])
    longer = counts.grams[k]
    return np.bincount(longer.context, longer.seen, len(counts.grams[k - 1].word)).astype(np.int64)


def _relative(counts, k) -> np.ndarray:
    """Return log10 count(h w) / count(h) for the n-grams of length k + 1."""
    grams = counts.grams[k]
    with np.errstate(divide="ignore"):
        return np.log10(grams.seen / _totals(counts, k)[grams.context])


def _adjusted(counts) -> list[np.ndarray]:
    """Return a(g) by length: the count for the longest and after <s>, else the number of distinct words to the left."""
    result = [
        np.where(grams.start, grams.seen, np.bincount(longer.suffix, minlength=len(grams.word)))
        for grams, longer in zip(counts.grams, counts.grams[1:], strict=False)
    ]
    result.append(counts.grams[-1].seen.copy())
    result[0][0] = 0
    return result


def _counts_of_counts(counts) -> list[np.ndarray]:
    """Return n_0 to n_4 by length: how many n-grams have a = 0..4.

    Of each length but the greatest, lmplz takes the n-gram that is sorted last with its plain count.
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


def _listed(counts, logp, backoff, *, kept=None, unseen=0.0) -> Estimate:
    """List the n-grams with their values, without those not kept."""
    logp[0][0] = 0  # <s>, which is never predicted
    columns = [(g.word, g.context, p, b) for g, p, b in zip(counts.grams, logp, [*backoff, ()], strict=True)]
    eos = counts.eos
    if kept is not None and not all(keep.all() for keep in kept):
        row = [np.cumsum(keep, dtype=np.int32) - 1 for keep in kept]  # by length, where each n-gram goes
        chosen = [[() if isinstance(x, tuple) else x[keep] for x in xs] for xs, keep in zip(columns, kept, strict=True)]
        columns = [(row[0][w], row[k - 1][c] if k else c, p, b) for k, (w, c, p, b) in enumerate(chosen)]
        eos = int(row[0][eos])
    entries = [Entries(w, c, p.astype(f32), () if isinstance(b, tuple) else b.astype(f32)) for w, c, p, b in columns]
    return Estimate(tuple(entries), eos - 1, unseen)
