"""The routes of a gradient from the words of a translation to those of its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["SourceGradients", "route_shares", "source_gradients"]


class SourceGradients(NamedTuple):
    """dJ_i/dx_j of the losses of T words with respect to the vectors of S words of the source."""

    losses: jax.Array  # [T]
    attention: jax.Array  # [T, S, d]  through what attention reads: the encoder's outputs
    recurrence: jax.Array  # [T, S, d]  through the decoder's first state and its recurrence


def source_gradients(read: Callable, losses: Callable, xs) -> SourceGradients:
    """Return the gradients of every loss with respect to the source, by the route they take.

        dJ_i/dx_j = dJ_i/dv dv/dx_j + dJ_i/ds_0 ds_0/dx_j

    v is all that attention reads, s_0 the first state of the decoder; each is a function of the
    source alone, and both sums are exact. A word reaches v at its own place and, by the encoder's
    recurrence, at others.

    Args:
        read: `xs -> (v, s_0)`, pytrees of arrays.
        losses: `v, s_0 -> [T]`, the loss of each word of the translation.
        xs: `[S, d]`, the vectors of the source's words.

    >>> read = lambda xs: (2 * xs, xs.sum(0))
    >>> losses = lambda v, s_0: jnp.stack([v[0].sum(), v[1].sum() + s_0.sum()])
    >>> found = source_gradients(read, losses, jnp.ones((3, 1)))
    >>> found.attention[..., 0].tolist(), found.recurrence[..., 0].tolist()
    ([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """
    (v, s_0), pullback = jax.vjp(read, xs)
    to_v, to_s_0 = jax.jacrev(losses, argnums=(0, 1))(v, s_0)
    zeros = lambda tree: jax.tree.map(jnp.zeros_like, tree)
    (attention,) = jax.vmap(lambda ct: pullback((ct, zeros(s_0))))(to_v)
    (recurrence,) = jax.vmap(lambda ct: pullback((zeros(v), ct)))(to_s_0)
    return SourceGradients(losses(v, s_0), attention, recurrence)


def route_shares(gradients: SourceGradients) -> jax.Array:
    """Return the share of each gradient that came through attention, `[T, S]`.

        a_ij = <g_ij, dJ_i/dx_j> / |dJ_i/dx_j|^2,    g_ij the part through attention

    The rest, 1 - a_ij, came through the recurrence. A share is below 0 or above 1 where the two
    parts work against each other, and NaN where there is no gradient.
    """
    whole = gradients.attention + gradients.recurrence
    return (gradients.attention * whole).sum(-1) / jnp.square(whole).sum(-1)
