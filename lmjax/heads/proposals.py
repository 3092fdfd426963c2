"""Distributions over the vocabulary that words are drawn from for a sampled loss."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.factory import factory

__all__ = ["Proposal", "unigram", "zipf"]


class Proposal(NamedTuple):
    """A distribution q over words, as a pair of functions."""

    draw: Callable  # key, count -> words int32 [count], with replacement
    log_prob: Callable  # words int [...] -> log q [...]


@factory
def zipf(vocab_size: int, power: float = 1.0) -> Proposal:
    """Return the proposal that has the r-th most frequent word in proportion to about r^-power.

        q(w) = int_{w+1}^{w+2} r^-power dr / int_1^{V+1} r^-power dr

    Log-uniform for power 1, uniform for 0. Word 0 must be the most frequent. Both functions have a
    closed form: a draw costs the same at any V.

    >>> q = zipf(3)
    >>> jnp.exp(q.log_prob(jnp.arange(3))).round(2).tolist(), q.draw(jax.random.key(0), 5).shape
    ([0.5, 0.29, 0.21], (5,))

    Raises:
        ValueError: `power` is negative.
    """
    if not power >= 0:
        raise ValueError(f"zipf: power must be at least 0, got {power}")
    a, last = 1 - power, vocab_size + 1.0

    def draw(key, count):
        u = jax.random.uniform(key, (count,))
        # the inverse of the distribution function of r^-power on [1, V + 1]
        rank = (1 + u * (last**a - 1)) ** (1 / a) if a else last**u
        return jnp.clip(rank.astype(jnp.int32) - 1, 0, vocab_size - 1)

    def integral(log_end):
        """Integrate r^-power from 1 on; of the logarithm, for the end may be close to 1."""
        return jnp.expm1(a * log_end) / a if a else log_end

    def log_prob(word):
        rank = word + 1.0
        share = integral(jnp.log1p(1 / rank)) / integral(jnp.log(last))
        return a * jnp.log(rank) + jnp.log(share)

    return Proposal(draw, log_prob)


def unigram(counts, power: float = 0.75) -> Proposal:
    """Return the proposal q(w) = count(w)^power / sum_v count(v)^power.

    Make it once: each call gives functions of their own, and a head with them is compiled anew.

    >>> q = unigram([8, 1, 1], power=1.0)
    >>> jnp.exp(q.log_prob(jnp.arange(3))).round(2).tolist()
    [0.8, 0.1, 0.1]

    Raises:
        ValueError: a count is not positive, as it is for a word that could never be drawn.

    References: Mikolov, Sutskever, Chen, Corrado and Dean (2013) for the power 0.75.
    """
    counts = np.asarray(counts, float)
    if not (counts > 0).all():
        raise ValueError(f"unigram: counts must be positive, got {counts.min()} among them")
    log_q = power * np.log(counts)
    log_q -= np.logaddexp.reduce(log_q)
    cumulative = np.exp(log_q).cumsum()

    def draw(key, count):
        u = jax.random.uniform(key, (count,))
        words = jnp.searchsorted(jnp.asarray(cumulative), u)
        return jnp.minimum(words, len(counts) - 1).astype(jnp.int32)

    return Proposal(draw, lambda word: jnp.asarray(log_q)[word])
