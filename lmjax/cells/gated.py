"""The lecture's cells: vanilla RNN, LSTM, GRU. Each is its equation; `gated` owns the linear maps."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell, Linear
from lmjax.cells import initial

__all__ = ["LSTMState", "ResetAfter", "gated", "gru", "lstm", "rnn"]


def gated(
    n_in: int,
    n: int,
    *stages,
    state=lambda zeros: zeros,
    hidden=lambda state: state,
    bias=None,
    w_h=initial.orthogonal(),
    named=None,
) -> Cell:
    """Make a cell from linear maps and elementwise gates.

    A stage is `(blocks, gates)`. It is given z = x w_x + v w_h + b of its `blocks` blocks of n, where
    v is what the stage before returned first (the hidden vector h for the first stage):

        state = gates(state, z)                       the last, or only, stage
        v, *kept = gates(state, z)                    an earlier one; the next gets gates(state, z, *kept)

    Args:
        n_in: size of the input.
        n: size of the hidden vector.
        stages: `(blocks, gates)` pairs, in the order in which the step runs them.
        state: zeros[..., n] -> s_0. Its dtype is that of the parameters, and float32 at least.
        hidden: state -> h, which the first stage multiplies by its part of w_h.
        bias: start value of each block's bias, default all zero.
        w_h: initialiser of each n x n block, see `lmjax.cells.initial`.
        named: z of the first stage -> {name: gate}, for `Cell.gates`.

    Raises:
        ValueError: a size is not positive.
    """
    if n_in < 1 or n < 1:
        raise ValueError(f"cell: sizes must be at least 1, got n_in={n_in}, n={n}")
    blocks = [k for k, _ in stages]
    total = sum(blocks)
    edges = [n * sum(blocks[:i]) for i in range(1, len(blocks))]

    def init(key) -> Linear:
        k_x, k_h = jax.random.split(key)
        w_x = jax.random.uniform(k_x, (n_in, total * n), minval=-1, maxval=1) * (3 / n_in) ** 0.5  # var 1 / n_in
        recurrent = jnp.concatenate([w_h(k, n) for k in jax.random.split(k_h, total)], axis=1)
        b = jnp.repeat(jnp.asarray(bias or [0.0] * total, w_x.dtype), n)
        return Linear(w_x, recurrent, b)

    def step(params, state, x):
        xs, ws = jnp.split(x, edges, -1), jnp.split(params.w_h, edges, -1)

        def stage(k, v, *kept):
            out = stages[k][1](state, xs[k] + v @ ws[k], *kept)
            return out if k + 1 == len(stages) else stage(k + 1, *out)

        return stage(0, hidden(state))

    def gates(params, state, x):
        size = n * blocks[0]
        return named(x[..., :size] + hidden(state) @ params.w_h[:, :size])

    return Cell(
        init=init,
        start=lambda params, batch_shape=(): state(
            jnp.zeros((*batch_shape, n), jnp.promote_types(params.w_h.dtype, jnp.float32))
        ),
        step=step,
        encode=lambda params, xs: xs @ params.w_x + params.b,
        read=lambda params, state: hidden(state),
        gates=gates if named else None,
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
    >>> cell.step(params, cell.start(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Elman (1990).
    """
    return gated(n_in, n, (1, lambda h, z: activation(z)), w_h=w_h)


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
    >>> cell.step(params, cell.start(params), cell.encode(params, jnp.ones(3))).c.shape
    (4,)

    References: Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000); Jozefowicz,
    Zaremba and Sutskever (2015) for the forget bias.
    """

    def gates(s, z):
        i, f, g, o = jnp.split(z, 4, -1)
        c = sigmoid(f) * s.c + sigmoid(i) * jnp.tanh(g)
        return LSTMState(h=sigmoid(o) * jnp.tanh(c), c=c)

    def named(z):
        i, f, _, o = jnp.split(sigmoid(z), 4, -1)
        return {"i": i, "f": f, "o": o}

    state = lambda zeros: LSTMState(h=zeros, c=zeros)
    bias = (0.0, forget_bias, 0.0, 0.0)
    return gated(n_in, n, (4, gates), state=state, hidden=lambda s: s.h, bias=bias, w_h=w_h, named=named)


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
            (there with z and 1 - z exchanged); a second bias then joins the parameters, see `ResetAfter`.
        w_h: initialiser of each block of W_h.

    >>> cell = gru(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.start(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Cho et al. (2014).
    """

    def reset(h, a):
        z, r = jnp.split(sigmoid(a), 2, -1)
        return r * h, z

    def update(h, a, z):
        return (1 - z) * h + z * jnp.tanh(a)

    def named(a):
        z, r = jnp.split(sigmoid(a), 2, -1)
        return {"z": z, "r": r, "f": 1 - z}  # the lecture: 1 - z stands where the forget gate stood

    before = gated(n_in, n, (2, reset), (1, update), w_h=w_h, named=named)
    if not reset_after:
        return before

    def step(params, h, x):
        z_x, c_x = jnp.split(x, [2 * n], -1)
        z_h, c_h = jnp.split(h @ params.w_h, [2 * n], -1)
        z, r = jnp.split(sigmoid(z_x + z_h), 2, -1)
        return update(h, c_x + r * (c_h + params.b_h), z)

    init = lambda key: ResetAfter(**before.init(key)._asdict(), b_h=jnp.zeros(n))
    return before._replace(init=init, step=step)


class ResetAfter(NamedTuple):
    """Parameters of a GRU that resets after the matrix."""

    w_x: jax.Array  # [n_in, 3 n]
    w_h: jax.Array  # [n, 3 n]
    b: jax.Array  # [3 n]
    b_h: jax.Array  # [n]  bias of the candidate's recurrent side
