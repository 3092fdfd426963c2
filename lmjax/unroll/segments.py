"""Every k-th state kept: a long sequence in the memory of a short one."""

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.cell import Cell

__all__ = ["unroll_segments"]


def unroll_segments(run, cell: Cell, params, state, xs, *, mask, reverse: bool, segment: int):
    """Run a cell segment by segment; going backward, each segment of k steps is recomputed.

    Memory is about T / k states and the residuals of k steps; the last segment is filled up with
    padded steps.

    Args:
        run: `unroll`, which runs a segment.
        segment: k; the others are as for `unroll`.

    References: Chen, Xu, Zhang and Guestrin (2016).
    """
    if segment < 1:
        raise ValueError(f"unroll: segment must be at least 1, got {segment}")
    length = len(jax.tree.leaves(xs)[0])
    mask = jnp.ones(length, bool) if mask is None else mask

    def split(x):
        padding = [(0, -length % segment)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(-1, segment, *x.shape[1:])

    @jax.checkpoint
    def body(state, at_segment):
        xs, mask = at_segment
        return run(cell, params, state, xs, mask=mask, reverse=reverse)

    segments = jax.tree.map(split, (xs, mask))
    final, states = lax.scan(body, state, segments, reverse=reverse)
    return final, jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:])[:length], states)
