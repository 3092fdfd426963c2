"""The lecture's cells: vanilla RNN, LSTM, GRU. Each is its equation; `gated` owns the linear maps."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.maps import Linear, Maps, Stage, encode, step

__all__ = ["LSTMState", "gated", "gru", "lstm", "rnn"]


def gated(
    n_in: int,
    n: int,
    *stages: Stage,
    state=lambda zeros: zeros,
    hidden=lambda state: state,
    bias=None,
    w_h=initial.orthogonal(),
    named=None,
) -> Cell:
    """Make a cell from linear maps and gates; `unroll` does the products.

    Args:
        n_in: size of the input.
        n: size of the hidden vector.
        stages: see `lmjax.maps.Stage`; the step runs them in turn.
        state: zeros[..., n] -> s_0. Its dtype is that of the parameters, and float32 at least.
        hidden: state -> h, which the first stage multiplies by its part of w_h.
        bias: start value of each block's bias, default all zero.
        w_h: initialiser of each n x n block, see `lmjax.cells.initial`.
        named: blocks of the first stage -> {name: gate}, for `Cell.gates`.

    Raises:
        ValueError: a size is not positive.
    """
    if n_in < 1 or n < 1:
        raise ValueError(f"cell: sizes must be at least 1, got n_in={n_in}, n={n}")
    maps = Maps(stages, hidden)
    k_x, k_h = sum(s.x + s.both for s in stages), sum(s.both + s.h for s in stages)
    k = sum(s.x + s.both + s.h for s in stages)

    def init(key) -> Linear:
        key_x, key_h = jax.random.split(key)
        w_x = jax.random.uniform(key_x, (n_in, k_x * n), minval=-1, maxval=1) * (3 / n_in) ** 0.5  # var 1 / n_in
        recurrent = jnp.concatenate([w_h(key, n) for key in jax.random.split(key_h, k_h)], axis=1)
        return Linear(w_x, recurrent, jnp.repeat(jnp.asarray(bias or [0.0] * k, w_x.dtype), n))

    def gates(params, state, x):
        first = stages[0]._replace(gates=lambda state, *blocks: named(*blocks))
        return step(maps._replace(stages=(first,)), params, state, x)

    return Cell(
        init=init,
        initial_state=lambda params, batch_shape=(): state(
            jnp.zeros((*batch_shape, n), jnp.promote_types(params.w_h.dtype, jnp.float32))
        ),
        step=partial(step, maps),
        encode=partial(encode, maps),
        read=lambda params, state: hidden(state),
        gates=gates if named else None,
        maps=maps,
    )


@cache
def rnn(n_in: int, n: int, *, activation=jnp.tanh, w_h=initial.orthogonal()) -> Cell:
    """Return the vanilla recurrent network.

        h_t = activation(h_{t-1} W_h + x_t W_x + b)

    Args:
        n_in: size of x_t.
        n: size of h_t.
        activation: `jnp.tanh`, `jax.nn.relu`, or `lambda z: z` for the linear cell of the lecture's proof.
        w_h: initialiser of W_h; `initial.identity()` with relu is the IRNN.

    >>> cell = rnn(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Elman (1990).
    """
    return gated(n_in, n, Stage(lambda h, z: activation(z), 1), w_h=w_h)


class LSTMState(NamedTuple):
    """State of an LSTM."""

    h: jax.Array  # [..., n]  hidden vector
    c: jax.Array  # [..., n]  cell


@cache
def lstm(n_in: int, n: int, *, forget_bias: float = 1.0, w_h=initial.orthogonal()) -> Cell:
    """Return the long short-term memory.

        i, f, g, o = blocks of  h_{t-1} W_h + x_t W_x + b
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    Args:
        n_in: size of x_t.
        n: size of h_t and c_t.
        forget_bias: start value of the forget gate's bias; 1 lets the cell remember from the first step.
        w_h: initialiser of each block of W_h.

    >>> cell = lstm(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).c.shape
    (4,)

    References: Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000); Jozefowicz,
    Zaremba and Sutskever (2015) for the forget bias.
    """

    def gates(s, i, f, g, o):
        c = sigmoid(f) * s.c + sigmoid(i) * jnp.tanh(g)
        return LSTMState(h=sigmoid(o) * jnp.tanh(c), c=c)

    state = lambda zeros: LSTMState(h=zeros, c=zeros)
    bias = (0.0, forget_bias, 0.0, 0.0)
    named = lambda i, f, g, o: {"i": sigmoid(i), "f": sigmoid(f), "o": sigmoid(o)}
    return gated(n_in, n, Stage(gates, 4), state=state, hidden=lambda s: s.h, bias=bias, w_h=w_h, named=named)


@cache
def gru(n_in: int, n: int, *, reset_after: bool = False, w_h=initial.orthogonal()) -> Cell:
    """Return the gated recurrent unit, as the lecture writes it: reset before the matrix.

        z, r = sigmoid(blocks of  h_{t-1} W_h + x_t W_x + b)
        h~_t = tanh((r h_{t-1}) W_h~ + x_t W_x~ + b~)
        h_t  = (1 - z) h_{t-1} + z h~_t

    `params.w_h` holds the blocks [z r h~].

    Args:
        n_in: size of x_t.
        n: size of h_t.
        reset_after: take r (h_{t-1} W_h~ + b_h) in place of (r h_{t-1}) W_h~, as cuDNN and PyTorch do
            (there with z and 1 - z exchanged). `params.w_x` then holds [h~ z r], `params.b` [h~ z r b_h].
        w_h: initialiser of each block of W_h.

    >>> cell = gru(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Cho et al. (2014).
    """

    def reset(h, z, r):
        return sigmoid(r) * h, sigmoid(z)

    def update(h, a, z):
        return (1 - z) * h + z * jnp.tanh(a)

    def update_after(h, a, z, r, a_h):
        return update(h, a + sigmoid(r) * a_h, sigmoid(z))

    def named(z, r):
        return {"z": sigmoid(z), "r": sigmoid(r), "f": 1 - sigmoid(z)}  # 1 - z keeps the old state

    if reset_after:
        after = Stage(update_after, 2, x=1, h=1)
        return gated(n_in, n, after, w_h=w_h, named=lambda a, z, r, a_h: named(z, r))
    return gated(n_in, n, Stage(reset, 2), Stage(update, 1), w_h=w_h, named=named)
