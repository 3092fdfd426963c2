"""Attention: a mean of the source's vectors, weighed by how well each fits the target's state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmjax.checks import check_positive
from lmjax.factory import factory

__all__ = ["Attention", "additive", "luong", "weights"]


class Attention(NamedTuple):
    """How well states h of a target fit vectors of its source, as plain functions."""

    init: Callable  # key -> params
    keys: Callable  # params, memory[S, B, m] -> keys[S, B, k]                once a sentence
    scores: Callable  # params, h[..., B, n], keys[S, B, k] -> [..., B, S]    any leading axes


@factory
def luong(n: int, m: int) -> Attention:
    """Return the general attention of Luong: score(h, v) = h W v.

    Args:
        n: size of a state h of the decoder.
        m: size of a vector v of the source.

    >>> attention = luong(2, 3)
    >>> params = attention.init(jax.random.key(0))
    >>> keys = attention.keys(params, jnp.ones((5, 1, 3)))
    >>> attention.scores(params, jnp.ones((7, 1, 2)), keys).shape
    (7, 1, 5)

    References: Luong, Pham and Manning (2015).
    """
    check_positive(n=n, m=m)
    return Attention(
        init=lambda key: jax.random.normal(key, (m, n)) * m**-0.5,
        keys=lambda w, memory: memory @ w,
        scores=lambda w, h, keys: jnp.einsum("...bn,sbn->...bs", h, keys),
    )


class _Additive(NamedTuple):
    w_h: jax.Array  # [n, k]
    w_v: jax.Array  # [m, k]
    v: jax.Array  # [k]


@factory
def additive(n: int, m: int, size: int | None = None) -> Attention:
    """Return the additive attention of Bahdanau: score(h, v) = a . tanh(h W + v U).

    It costs `size` numbers for every pair of a target's and a source's word.

    Args:
        n: size of a state h of the decoder.
        m: size of a vector v of the source.
        size: of a, default n.

    References: Bahdanau, Cho and Bengio (2015).
    """
    k = n if size is None else size
    check_positive(n=n, m=m, size=k)

    def init(key):
        k_h, k_v, k_a = jax.random.split(key, 3)
        draw = lambda key, *shape: jax.random.normal(key, shape) * shape[0] ** -0.5
        return _Additive(draw(k_h, n, k), draw(k_v, m, k), draw(k_a, k))

    def scores(params, h, keys):
        pairs = (h @ params.w_h)[..., None, :] + jnp.moveaxis(keys, 0, -2)
        return jnp.tanh(pairs) @ params.v

    return Attention(init, lambda params, memory: memory @ params.w_v, scores)


def weights(attention: Attention, params, h, keys, mask) -> jax.Array:
    """Return how much each word of the source counts, `[..., B, S]`, sums 1; 0 at padding.

    Args:
        attention: the kind.
        params: its parameters.
        h: `[..., B, n]`.
        keys: `[S, B, k]`.
        mask: bool `[S, B]`, True at some word at least of every sentence.
    """
    scores = attention.scores(params, h, keys)
    return jax.nn.softmax(jnp.where(mask.T, scores, -jnp.inf), -1)
