"""The long short-term memory with layer normalisation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, standardize

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.linear import Linear, check_sizes, init_linear, zero_state
from lmjax.cells.lstm import LSTMState
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["LayerNormLSTM", "lstm_layer_norm"]


class LayerNormLSTM(NamedTuple):
    """Parameters of a long short-term memory with layer normalisation."""

    linear: Linear
    gain_x: jax.Array  # [4 n]
    gain_h: jax.Array  # [4 n]
    gain_c: jax.Array  # [n]
    bias_c: jax.Array  # [n]


@factory
def lstm_layer_norm(
    n_in: int, n: int, *, forget_bias: float = 1.0, w_h=initial.orthogonal()
) -> Cell:
    """Return the long short-term memory with layer normalisation.

        LN(z; a) = a (z - mean z) / std z
        i, f, g, o = blocks of  LN(h_{t-1} W_h; a_h) + LN(x_t W_x; a_x) + b
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(LN(c_t; a_c) + b_c)

    Mean and standard deviation are those over the entries of one vector.

    Args:
        n_in: size of x_t.
        n: size of h_t and c_t.
        forget_bias: bias of the forget gate at the beginning.
        w_h: initialiser of each block of W_h.

    Raises:
        ValueError: a size is not positive.

    >>> cell = lstm_layer_norm(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).h.shape
    (4,)

    References: Ba, Kiros and Hinton (2016).
    """
    check_sizes(n_in, n)
    biases = [0.0, forget_bias, 0.0, 0.0]

    def init(key) -> LayerNormLSTM:
        linear = init_linear(key, n_in, n, blocks=4, w_h=w_h, biases=biases)
        ones = jnp.ones_like(linear.b)
        return LayerNormLSTM(linear, ones, ones, ones[:n], jnp.zeros_like(ones[:n]))

    def initial_state(params, batch_shape=()):
        zeros = zero_state(params.linear.w_h, n, batch_shape)
        return LSTMState(h=zeros, c=zeros)

    def blocks(params, s, x):
        z = params.gain_h * standardize(matmul(s.h, params.linear.w_h), epsilon=EPSILON)
        return jnp.split(x + z + params.linear.b, 4, -1)

    def step(params, s, x):
        i, f, g, o = blocks(params, s, x)
        c = sigmoid(f) * s.c + sigmoid(i) * jnp.tanh(g)
        normal = params.gain_c * standardize(c, epsilon=EPSILON) + params.bias_c
        return LSTMState(h=sigmoid(o) * jnp.tanh(normal), c=c)

    def gates(params, s, x):
        i, f, _, o = blocks(params, s, x)
        return {"i": sigmoid(i), "f": sigmoid(f), "o": sigmoid(o)}

    def encode(params, xs):
        return params.gain_x * standardize(matmul(xs, params.linear.w_x), epsilon=EPSILON)

    return Cell(
        init=init,
        initial_state=initial_state,
        step=step,
        encode=encode,
        read=lambda params, s: s.h,
        gates=gates,
    )


EPSILON = 1e-5  # added to the variance: h_0 W_h is 0
