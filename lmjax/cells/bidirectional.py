"""A sequence read from both ends: an encoder, not a language model."""

import jax
import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.unroll import unroll

__all__ = ["bidirectional"]


def bidirectional(forward: Cell, backward: Cell, params, xs, *, mask=None) -> jax.Array:
    """Encode a sequence from both ends: h_t = [forward h_t; backward h_t].

    An output depends on inputs after it, so this is an encoder, not a `Cell`, and no language
    model. With a mask the backward cell starts at each sequence's own end.

    Args:
        forward: the cell that runs from t = 1 to T.
        backward: the cell that runs from t = T to 1, with weights of its own.
        params: pair of the two cells' parameters.
        xs: `[T, ...]` or `[T, B, ...]`.
        mask: bool `[T]` or `[T, B]`, False at padded steps.

    Returns:
        `[T, ..., n_forward + n_backward]`.

    >>> from lmjax.cells import gru
    >>> cell = gru(3, 4)
    >>> params = cell.init(jax.random.key(0)), cell.init(jax.random.key(1))
    >>> bidirectional(cell, cell, params, jnp.ones((6, 3))).shape
    (6, 8)

    References: Schuster and Paliwal (1997).
    """
    batch_shape = jnp.shape(jax.tree.leaves(xs)[0])[1:-1]

    def run(cell, params, reverse):
        state = cell.initial_state(params, batch_shape)
        _, states = unroll(cell, params, state, xs, mask=mask, reverse=reverse)
        return cell.read(params, states)

    ahead, back = run(forward, params[0], False), run(backward, params[1], True)
    return jnp.concatenate([ahead, back], axis=-1)
