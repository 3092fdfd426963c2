"""The long short-term memory with recurrent projection: many cells, a narrow hidden vector."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell
from lmjax.cells.linear import check_sizes, uniform, zero_state
from lmjax.cells.lstm import LSTMState
from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["ProjectedLSTM", "lstm_projected"]


class ProjectedLSTM(NamedTuple):
    """Parameters of a long short-term memory with m cells and a hidden vector of n."""

    w_x: jax.Array  # [n_in, 4 m]  blocks [i f g o]
    w_h: jax.Array  # [n, 4 m]
    b: jax.Array  # [4 m]
    w_p: jax.Array  # [m, n]  the projection


@factory
def lstm_projected(
    n_in: int, n: int, *, memory: int | None = None, forget_bias: float = 1.0
) -> Cell:
    """Return the long short-term memory with recurrent projection.

        i, f, g, o = blocks of  h_{t-1} W_h + x_t W_x + b
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = (sigmoid(o) tanh(c_t)) W_p

    W_h and the output layer grow with n, the memory with m: `lstm_projected(512, 512)` is the
    LSTM-2048-512 of the One Billion Word table.

    Args:
        n_in: size of x_t.
        n: size of h_t.
        memory: m, the size of c_t; 4 n if not given.
        forget_bias: bias of the forget gate at the beginning.

    Raises:
        ValueError: a size is not positive.

    >>> cell = lstm_projected(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> state = cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3)))
    >>> state.h.shape, state.c.shape
    ((4,), (16,))

    References: Sak, Senior and Beaufays (2014); Jozefowicz, Vinyals, Schuster, Shazeer and Wu
    (2016), who add the forget bias of 1.
    """
    check_sizes(n_in, n)
    m = 4 * n if memory is None else memory
    check_positive(memory=m)

    def init(key) -> ProjectedLSTM:
        k_x, k_h, k_p = jax.random.split(key, 3)
        b = jnp.repeat(jnp.array([0.0, forget_bias, 0.0, 0.0]), m)
        return ProjectedLSTM(
            uniform(k_x, n_in, 4 * m), uniform(k_h, n, 4 * m), b, uniform(k_p, m, n)
        )

    def initial_state(params, batch_shape=()):
        size = lambda n: zero_state(params.w_h, n, batch_shape)
        return LSTMState(h=size(n), c=size(m))

    def blocks(params, s, x):
        return jnp.split(x + matmul(s.h, params.w_h) + params.b, 4, -1)

    def step(params, s, x):
        i, f, g, o = blocks(params, s, x)
        c = sigmoid(f) * s.c + sigmoid(i) * jnp.tanh(g)
        return LSTMState(h=matmul(sigmoid(o) * jnp.tanh(c), params.w_p), c=c)

    def gates(params, s, x):
        i, f, _, o = blocks(params, s, x)
        return {"i": sigmoid(i), "f": sigmoid(f), "o": sigmoid(o)}

    return Cell(
        init=init,
        initial_state=initial_state,
        step=step,
        encode=lambda params, xs: matmul(xs, params.w_x),
        read=lambda params, s: s.h,
        gates=gates,
    )
