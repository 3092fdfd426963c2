"""Cells on top of each other."""

from functools import partial
from itertools import pairwise

import jax

from lmjax.cell import Cell
from lmjax.checks import fitting
from lmjax.factory import factory

__all__ = ["stack"]


@factory
def stack(*cells: Cell) -> Cell:
    """Put cells on top of each other: each reads out to the next, which moves in the same step.

        s^1_t = step^1(s^1_{t-1}, x_t)
        s^k_t = step^k(s^k_{t-1}, encode^k(read^{k-1}(s^{k-1}_t)))

    Parameters and state are tuples, one entry a layer. A stack of one computes what its cell does.

    >>> import jax.numpy as jnp
    >>> from lmjax.cells import lstm, rnn
    >>> cell = stack(lstm(3, 4), rnn(4, 5))
    >>> params = cell.init(jax.random.key(0))
    >>> state = cell.initial_state(params)
    >>> state = cell.step(params, state, cell.encode(params, jnp.ones(3)))
    >>> cell.read(params, state).shape
    (5,)

    Raises:
        ValueError: no cell is given, or one does not take what the one below reads out.
    """
    if not cells:
        raise ValueError("stack: at least one cell is needed, got none")
    for k, (below, above) in enumerate(pairwise(cells), 1):
        y = jax.eval_shape(partial(_output, below), jax.random.key(0))
        with fitting(f"stack: cell {k + 1} does not take what cell {k} reads out"):
            jax.eval_shape(partial(_output, above), jax.random.key(0), y)

    def init(key):
        keys = jax.random.split(key, len(cells))
        return tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True))

    def initial_state(params, batch_shape=()):
        each = zip(cells, params, strict=True)
        return tuple(cell.initial_state(p, batch_shape) for cell, p in each)

    def step(params, state, x):
        states: list = []
        for cell, p, s in zip(cells, params, state, strict=True):
            if states:
                x = cell.encode(p, x)
            states.append(cell.step(p, s, x))
            x = cell.read(p, states[-1])
        return tuple(states)

    return Cell(
        init=init,
        initial_state=initial_state,
        step=step,
        encode=lambda params, xs: cells[0].encode(params[0], xs),
        read=lambda params, state: cells[-1].read(params[-1], state[-1]),
        layers=cells,
    )


def _output(cell, key, *x):
    """Return what a cell reads out at first, or after an input."""
    params = cell.init(key)
    state = cell.initial_state(params)
    for x_t in x:
        state = cell.step(params, state, cell.encode(params, x_t))
    return cell.read(params, state)
