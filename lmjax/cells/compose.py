"""Cells made of cells: layers on top of each other, and both directions side by side."""

from functools import cache

import jax
import jax.numpy as jnp

from lmjax.cell import Cell, unroll

__all__ = ["bidirectional", "stack"]


@cache
def stack(*cells: Cell) -> Cell:
    """Put cells on top of each other: each reads out to the next, whose state moves in the same step.

        s^1_t = step^1(s^1_{t-1}, x_t),    s^k_t = step^k(s^k_{t-1}, encode^k(read^{k-1}(s^{k-1}_t)))

    Parameters and state are tuples, one entry a layer. A stack of one computes what its cell does.

    >>> from lmjax.cells import lstm, rnn
    >>> cell = stack(lstm(3, 4), rnn(4, 5))
    >>> params = cell.init(jax.random.key(0))
    >>> state = cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3)))
    >>> cell.read(params, state).shape
    (5,)

    Raises:
        ValueError: no cell is given.
    """
    if not cells:
        raise ValueError("stack: at least one cell is needed, got none")

    def step(params, state, x):
        states = []
        for k, (cell, p, s) in enumerate(zip(cells, params, state, strict=True)):
            x = cell.encode(p, x) if k else x
            states.append(cell.step(p, s, x))
            x = cell.read(p, states[-1])
        return tuple(states)

    return Cell(
        init=lambda key: tuple(c.init(k) for c, k in zip(cells, jax.random.split(key, len(cells)), strict=True)),
        initial_state=lambda params, batch_shape=(): tuple(
            c.initial_state(p, batch_shape) for c, p in zip(cells, params, strict=True)
        ),
        step=step,
        encode=lambda params, xs: cells[0].encode(params[0], xs),
        read=lambda params, state: cells[-1].read(params[-1], state[-1]),
        layers=cells,
    )


def bidirectional(forward: Cell, backward: Cell, params, xs, *, mask=None) -> jax.Array:
    """Encode a sequence from both ends: h_t = [forward h_t; backward h_t].

    An output depends on inputs after it, so this is an encoder, not a `Cell`, and no language model.
    With a mask the backward cell starts at each sequence's own end.

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
        return cell.read(params, unroll(cell, params, state, xs, mask=mask, reverse=reverse)[1])

    return jnp.concatenate([run(forward, params[0], False), run(backward, params[1], True)], axis=-1)
