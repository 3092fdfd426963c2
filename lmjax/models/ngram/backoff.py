"""Backing off to a shorter context where an n-gram was never seen: Katz, and stupid backoff."""

from __future__ import annotations

import numpy as np

from lmjax.models.ngram.counts import Counts, context_counts
from lmjax.models.ngram.model import Estimate, listed
from lmjax.models.ngram.smoothing import NoDiscounts, relative_frequencies

__all__ = ["katz", "stupid_backoff"]


def katz(counts: Counts, largest: int = 5, *, fallback: bool = False) -> Estimate:
    """Back off with Good-Turing discounts d_r for counts r up to `largest`.

        P(w | h) = d_r count(h w) / count(h)            if h w was seen r times
                   b(h) P(w | h without its first word) else
        d_r = (r*/r - A) / (1 - A)
        r*  = (r + 1) n_{r+1} / n_r
        A   = (K + 1) n_{K+1} / n_1,   K = largest

    n_r n-grams of a length were seen r times. Unigrams are discounted only if there are words never
    seen, which share n_1 / (N + n_1) of N tokens. A context whose counts all exceed `largest` would
    leave nothing for other words: it counts one occurrence more.

    Args:
        counts: the n-grams of a text.
        largest: K, from 1.
        fallback: where the text is too small, do as SRILM: for each length lower K until some
            n-gram was seen K + 1 times, and leave counts alone whose d_r is still not in (0, 1].

    Raises:
        NoDiscounts: the text is too small for the discounts of some length, and there is no
            fallback.

    References: Katz (1987); Chen and Goodman (1999), section 2.4; Stolcke (2002).
    """
    if largest < 1:
        raise ValueError(f"largest: at least 1, got {largest}")
    p = _unigrams(counts.grams[0].seen)
    size = len(p) - 1
    logp, backoff = [np.log10(p)], []
    for k, grams in enumerate(counts.grams[1:], 2):
        contexts = len(p)
        followed = np.bincount(grams.context, minlength=contexts)
        total = context_counts(counts, k - 1).astype(float)
        discounted = grams.seen * _good_turing(grams.seen, k, largest, fallback)
        total += np.bincount(grams.context, discounted, contexts) >= total  # nothing left
        longer = discounted / total[grams.context]
        left = 1 - np.bincount(grams.context, longer, contexts)
        spare = 1 - np.bincount(grams.context, p[grams.suffix], contexts)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.log10(left / spare)
        backoff.append(np.where((followed > 0) & (followed < size), weight, 0.0))
        p = longer
        logp.append(np.log10(p))
    return listed(counts, logp, backoff)


def _unigrams(count) -> np.ndarray:
    """Return P of every word, `<s>` first: what discounting frees is shared by words never seen."""
    seen = count[1:]
    never = int((seen == 0).sum())
    mass = max(int((seen == 1).sum()), 1) if never else 0
    return np.where(count > 0, count, mass / max(never, 1)) / (seen.sum() + mass)


def _good_turing(count, k, largest, fallback) -> np.ndarray:
    """Return the factor d_r by which each k-gram's count r is discounted."""
    n = np.bincount(np.minimum(count, largest + 2), minlength=largest + 3)
    while fallback and largest and not (n[1] and n[largest + 1]):
        largest -= 1
    r = np.arange(1, largest + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (largest + 1) * n[largest + 1] / n[1]
        rate = ((r + 1) * n[2 : largest + 2] / (r * n[1 : largest + 1]) - a) / (1 - a)
    usable = (rate > 0) & (rate <= 1)
    if not fallback and not usable.all():
        raise NoDiscounts(
            f"no Good-Turing discounts for {k}-grams, "
            f"of which {n[1 : largest + 2].tolist()} were seen 1 to {largest + 1} times"
        )
    rate = np.append(np.where(usable, rate, 1), 1)
    return rate[np.minimum(count, largest + 1) - 1]


def stupid_backoff(counts: Counts, alpha: float = 0.4) -> Estimate:
    """Score by relative frequency, or alpha times the score of the shorter context.

        S(w | h) = count(h w) / count(h)                  if h w was seen
                   alpha S(w | h without its first word)  else

    A score, not a distribution: over the vocabulary it does not sum to 1, and no perplexity follows
    from it.

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
    logp = [relative_frequencies(counts, k) for k in range(1, counts.order + 1)]
    backoff = [np.full(len(p), np.log10(alpha)) for p in logp[:-1]]
    return listed(counts, logp, backoff, unseen=np.log10(alpha))
