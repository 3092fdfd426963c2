"""Encoders: a whole sequence read at once, from one end or from both. No language models."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.factory import factory
from lmjax.unroll import unroll

__all__ = ["Encoder", "bidirectional", "deep", "unidirectional"]


class Encoder(NamedTuple):
    """A network over whole sequences, as plain functions: h_1..h_T of x_1..x_T.

    An output may depend on inputs after it: an encoder is no `Cell`, and cannot be a language
    model, which has to predict them. At padded steps, where the mask is False, outputs mean
    nothing, and inputs have no effect on others. A linear layer over h_t tags each step; one over
    the mean of h_t where the mask is True classifies the sequence.
    """

    init: Callable  # key -> params
    encode: Callable  # params, xs[T, B, ...], mask=None bool[T, B] -> [T, B, n]

    def is_no(self) -> tuple[str, str]:
        """Return the type that this is none of, and why."""
        return "Cell", "it may see inputs that come later, which a language model has to predict"


@factory
def unidirectional(cell: Cell) -> Encoder:
    """Return the encoder that reads from the beginning: h_t = read(s_t)."""
    return Encoder(cell.init, lambda params, xs, mask=None: _run(cell, params, xs, mask, False))


@factory
def bidirectional(forward: Cell, backward: Cell) -> Encoder:
    """Return the encoder that reads from both ends: h_t = [forward h_t; backward h_t].

    With a mask the backward cell starts at each sequence's own end. Parameters are the pair of the
    two cells'.

    Args:
        forward: the cell that runs from t = 1 to T.
        backward: the cell that runs from t = T to 1, with weights of its own.

    >>> from lmjax.cells import gru
    >>> encoder = bidirectional(gru(3, 4), gru(3, 4))
    >>> encoder.encode(encoder.init(jax.random.key(0)), jnp.ones((6, 3))).shape
    (6, 8)

    References: Schuster and Paliwal (1997).
    """

    def init(key):
        k_forward, k_backward = jax.random.split(key)
        return forward.init(k_forward), backward.init(k_backward)

    def encode(params, xs, mask=None):
        ahead = _run(forward, params[0], xs, mask, False)
        return jnp.concatenate([ahead, _run(backward, params[1], xs, mask, True)], -1)

    return Encoder(init, encode)


@factory
def deep(*encoders: Encoder) -> Encoder:
    """Put encoders on top of each other: each reads what the one below gives out.

    >>> from lmjax.cells import gru
    >>> encoder = deep(bidirectional(gru(3, 4), gru(3, 4)), bidirectional(gru(8, 5), gru(8, 5)))
    >>> encoder.encode(encoder.init(jax.random.key(0)), jnp.ones((6, 2, 3))).shape
    (6, 2, 10)

    Raises:
        ValueError: no encoder is given.
    """
    if not encoders:
        raise ValueError("deep: at least one encoder is needed, got none")

    def init(key):
        keys = jax.random.split(key, len(encoders))
        return tuple(encoder.init(k) for encoder, k in zip(encoders, keys, strict=True))

    def encode(params, xs, mask=None):
        for encoder, p in zip(encoders, params, strict=True):
            xs = encoder.encode(p, xs, mask)
        return xs

    return Encoder(init, encode)


def _run(cell: Cell, params, xs, mask, reverse: bool):
    batch_shape = jnp.shape(jax.tree.leaves(xs)[0])[1:-1]
    state = cell.initial_state(params, batch_shape)
    _, states = unroll(cell, params, state, xs, mask=mask, reverse=reverse)
    return cell.read(params, states)
