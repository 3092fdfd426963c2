"""Maximum likelihood, and its smoothing by adding to the counts."""

from __future__ import annotations

import numpy as np

from lmjax.models.ngram.counts import Counts, context_counts
from lmjax.models.ngram.model import Estimate, listed

__all__ = ["NoDiscounts", "add_delta", "mle", "relative_frequencies"]


class NoDiscounts(ValueError):
    """A text is too small or artificial for discounts to be estimated on it."""

    def __init__(self, problem: str):
        self.problem = f"{problem}: the text is too small or artificial"
        super().__init__(f"{self.problem}; give `fallback`")


def mle(counts: Counts) -> Estimate:
    """Estimate by maximum likelihood.

        P(w | h) = count(h w) / count(h)

    The lecture's first model, with both of its problems: a word never seen after h has probability
    0 (log-probability -inf), and after an h never seen no word has a probability (nan).

    >>> from lmjax.models.ngram import count, index, log_prob
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 3, size=4, eos=0)))
    >>> [round(float(x), 4) for x in log_prob(model, np.array([1, 2, 2, 3]))]
    [0.0, -0.6931, -inf, nan]
    """
    logp = [relative_frequencies(counts, k) for k in range(1, counts.order + 1)]
    backoff = [
        np.where(context_counts(counts, k) > 0, -np.inf, np.nan) for k in range(1, counts.order)
    ]
    return listed(counts, logp, backoff, unseen=np.nan)


def add_delta(counts: Counts, delta: float = 1.0) -> Estimate:
    """Add delta to every count.

        P(w | h) = (count(h w) + delta) / (count(h) + delta V)

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
    for k, grams in enumerate(counts.grams, 1):
        total = context_counts(counts, k - 1)[grams.context] + delta * size
        p = np.log10((grams.seen + delta) / total)
        # inside a sentence, a shorter n-gram is asked for only after a context never seen: 1 / V
        logp.append(np.where(grams.start | (k == counts.order), p, -np.log10(size)))
        if k < counts.order:
            total = context_counts(counts, k)
            context = (total > 0) & (grams.start | (k == counts.order - 1))
            weight = np.log10(delta * size / (total + delta * size))
            backoff.append(np.where(context, weight, 0.0))
    return listed(counts, logp, backoff)


def relative_frequencies(counts: Counts, k: int) -> np.ndarray:
    """Return log10 count(h w) / count(h) for the n-grams h w of length k.

    >>> from lmjax.models.ngram import count
    >>> logp = relative_frequencies(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0), 2)
    >>> (10**logp).round(3).tolist()
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """
    grams = counts.grams[k - 1]
    with np.errstate(divide="ignore"):
        return np.log10(grams.seen / context_counts(counts, k - 1)[grams.context])
