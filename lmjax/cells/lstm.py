"""The long short-term memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.linear import check_sizes, init_linear, zero_state
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["LSTMState", "lstm"]


class LSTMState(NamedTuple):
    """State of an LSTM."""

    h: jax.Array  # [..., n]  hidden vector
    c: jax.Array  # [..., n]  cell


@factory
def lstm(n_in: int, n: int, *, forget_bias: float = 1.0, w_h=initial.orthogonal()) -> Cell:
    """Return the long short-term memory.

        i, f, g, o = blocks of  h_{t-1} W_h + x_t W_x + b
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    Args:
        n_in: size of x_t.
        n: size of h_t and c_t.
        forget_bias: bias of the forget gate at the beginning; 1 lets the cell remember from the
            first step.
        w_h: initialiser of each block of W_h.

    Raises:
        ValueError: a size is not positive.

    >>> cell = lstm(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).c.shape
    (4,)

    References: Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000); Jozefowicz,
    Zaremba and Sutskever (2015) for the forget bias.
    """
    check_sizes(n_in, n)
    biases = [0.0, forget_bias, 0.0, 0.0]

    def blocks(params, s, x):
        return jnp.split(x + matmul(s.h, params.w_h) + params.b, 4, -1)

    def initial_state(params, batch_shape=()):
        zeros = zero_state(params.w_h, n, batch_shape)
        return LSTMState(h=zeros, c=zeros)

    def step(params, s, x):
        i, f, g, o = blocks(params, s, x)
        c = sigmoid(f) * s.c + sigmoid(i) * jnp.tanh(g)
        return LSTMState(h=sigmoid(o) * jnp.tanh(c), c=c)

    def gates(params, s, x):
        i, f, _, o = blocks(params, s, x)
        return {"i": sigmoid(i), "f": sigmoid(f), "o": sigmoid(o)}

    return Cell(
        init=lambda key: init_linear(key, n_in, n, blocks=4, w_h=w_h, biases=biases),
        initial_state=initial_state,
        step=step,
        encode=lambda params, xs: matmul(xs, params.w_x),
        read=lambda params, s: s.h,
        gates=gates,
    )
