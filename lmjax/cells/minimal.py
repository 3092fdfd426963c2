"""The minimal gated recurrent unit: affine in its state, so that time can be run in parallel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell, affine
from lmjax.cells.linear import check_sizes, uniform, zero_state
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["MinGRU", "mingru"]


class MinGRU(NamedTuple):
    """Parameters of a minimal GRU."""

    w_x: jax.Array  # [n_in, 2 n]  blocks [z h~]
    b: jax.Array  # [2 n]


@factory
def mingru(n_in: int, n: int) -> Cell:
    """Return the minimal gated recurrent unit: a GRU without h_{t-1} in its gates.

        z_t, h~_t = sigmoid(x_t W_z + b_z), x_t W + b
        h_t = (1 - z_t) h_{t-1} + z_t h~_t

    Args:
        n_in: size of x_t.
        n: size of h_t.

    Raises:
        ValueError: a size is not positive.

    >>> cell = mingru(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024).
    """
    check_sizes(n_in, n)

    def encode(params, xs):
        z, h = jnp.split(matmul(xs, params.w_x) + params.b, 2, -1)
        return sigmoid(-z), sigmoid(z) * h

    def gates(params, state, x):
        a, _ = x
        return {"z": 1 - a, "f": a}

    return Cell(
        init=lambda key: MinGRU(uniform(key, n_in, 2 * n), jnp.zeros(2 * n)),
        initial_state=lambda params, batch_shape=(): zero_state(params.w_x, n, batch_shape),
        step=affine,
        encode=encode,
        gates=gates,
    )
