"""Cells, inputs and a loss, for the tests of `unroll`."""

import jax
import jax.numpy as jnp

from lmjax import cells
from lmjax.cell import Cell
from lmjax.tree import is_floating

T, B, N_IN, N = 7, 3, 4, 5


def leaky_step(params, state, x):
    return {"h": params["a"] * state["h"] + jnp.tanh(x @ params["u"]), "count": state["count"] + 1}


LEAKY = Cell(  # a user's cell: dict state, an integer leaf, no encode, no read
    init=lambda key: {"a": jnp.asarray(0.9), "u": jax.random.normal(key, (N_IN, N))},
    initial_state=lambda params, batch_shape=(): {
        "h": jnp.zeros((*batch_shape, N)),
        "count": jnp.zeros(batch_shape, int),
    },
    step=leaky_step,
)
CELLS = {
    "rnn": cells.rnn(N_IN, N),
    "relu": cells.rnn(N_IN, N, activation=jax.nn.relu),
    "lstm": cells.lstm(N_IN, N),
    "gru": cells.gru(N_IN, N),
    "gru reset after": cells.gru(N_IN, N, reset_after=True),
    "mingru": cells.mingru(N_IN, N),
    "diagonal": cells.diagonal(N_IN, N),
    "window": cells.window(N_IN, N, words=3),
    "stack": cells.stack(cells.lstm(N_IN, 3), cells.rnn(3, N)),
    "user": LEAKY,
}
MASK = jnp.arange(T)[:, None] < jnp.array([T, 3, 0])
WAYS = {
    "plain": {},
    "mask": {"mask": MASK},
    "reverse": {"reverse": True},
    "mask reverse": {"mask": MASK, "reverse": True},
}


def floats(tree):
    return [x for x in jax.tree.leaves(tree) if is_floating(x)]


def problem(cell, key, length=T, batch=(B,)):
    """Parameters, a start state that is not zero, inputs."""
    k = jax.random.split(key, 3)
    params = cell.init(k[0])
    noise = lambda x: 0.3 * jax.random.normal(k[1], x.shape) if is_floating(x) else x
    state = jax.tree.map(noise, cell.initial_state(params, batch))
    return params, state, jax.random.normal(k[2], (length, *batch, N_IN))


def loss(run, cell, params, state, xs, **way):
    """A scalar in which every state has a weight of its own."""
    final, states = run(cell, params, state, xs, **way)
    weight = lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    of_states = sum((weight(x) * x).sum() for x in floats(states))
    return of_states + sum((x**2).sum() for x in floats(final))


def gradients(run, cell, params, state, xs, **way):
    value = lambda params, state, xs: loss(run, cell, params, state, xs, **way)
    found = jax.grad(value, (0, 1, 2), allow_int=True)(params, state, xs)
    return floats(found)
