"""The cache: words of the last positions, weighed by how alike the features were there."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.checks import check_positive
from lmjax.precision import full_precision

__all__ = ["cache_log_prob", "with_cache"]

QUERIES = 256  # positions that are scored at a time


@partial(jax.jit, static_argnames="size")
@full_precision
def cache_log_prob(features, targets, *, size: int, theta: float = 0.0) -> jax.Array:
    """Return log P_cache(x_t) of each position of a text, given the text before it.

        P_cache(w | t) = sum_{i in C} [x_i = w] a_i / sum_{i in C} a_i,   a_i = exp(theta y_i . y_t)

    C are the `size` positions before t. With theta = 0 it is the unigram cache, the share of w
    among them. It reads the text that it scores: its perplexities stand beside those of models
    that read the same, never among others.

    Args:
        features: `[N, n]`, y_t from which the model predicts x_t: `cell.read` of its states.
        targets: int `[N]`, x_t.
        size: of the cache.
        theta: how much alike features count.

    Returns:
        `[N]`; -inf where the word is not in the cache, as at the first position.

    >>> logp = cache_log_prob(jnp.zeros((4, 1)), jnp.array([5, 5, 6, 6]), size=2)
    >>> jnp.exp(logp).tolist()
    [0.0, 1.0, 0.0, 0.5]

    References: Kuhn and De Mori (1990); Grave, Joulin and Usunier (2017).
    """
    check_positive(size=size)
    length = len(targets)
    extra = -length % QUERIES
    # `size` empty places before the text, and some after it that are not looked at
    keys = jnp.pad(features, ((size, extra), (0, 0)))
    words = jnp.pad(targets, (size, extra), constant_values=-1)
    back = jnp.arange(size + QUERIES) - jnp.arange(QUERIES)[:, None]
    in_cache = (back >= 0) & (back < size)  # [queries, keys]

    def block(begin):
        at = lambda x, start, count: lax.dynamic_slice_in_dim(x, start, count)
        candidates = at(words, begin, size + QUERIES)
        y, target = at(keys, begin + size, QUERIES), at(words, begin + size, QUERIES)
        scores = theta * y @ at(keys, begin, size + QUERIES).T
        scores = jnp.where(in_cache & (candidates >= 0), scores, -jnp.inf)
        same = jnp.where(candidates == target[:, None], scores, -jnp.inf)
        own = jax.nn.logsumexp(same, -1)
        return jnp.where(own == -jnp.inf, -jnp.inf, own - jax.nn.logsumexp(scores, -1))

    begins = jnp.arange(0, length + extra, QUERIES)
    return lax.map(block, begins).ravel()[:length]


def with_cache(logp, cached, weight):
    """Return log( (1 - lambda) P(x_t) + lambda P_cache(x_t) ); at first the model's alone.

    Args:
        logp: `[N]` of the model.
        cached: `[N]` of `cache_log_prob`.
        weight: lambda, from 0 to 1.

    >>> logp = jnp.log(jnp.array([0.5, 0.5]))
    >>> mixed = jnp.exp(with_cache(logp, jnp.array([-jnp.inf, 0.0]), 0.5))
    >>> [f"{p:.3f}" for p in mixed.tolist()]
    ['0.500', '0.750']
    """
    mixed = jnp.logaddexp(jnp.log1p(-weight) + logp, jnp.log(weight) + cached)
    return mixed.at[0].set(logp[0])
