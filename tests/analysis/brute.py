"""Cells to analyse, and brute force: the recurrence as a Python loop over parameters and perturbations of its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from lmjax import cells
from lmjax.cell import Cell

T = 6


def _user_cell():
    """A dict for a state, with an integer leaf, and a step of one's own."""

    def step(params, state, x):
        slow = params["a"] * state["slow"] + jnp.tanh(x @ params["u"] + state["fast"] @ params["w_h"])
        return {"slow": slow, "fast": jnp.sin(slow) * state["fast"] + x @ params["u"], "count": state["count"] + 1}

    return Cell(
        init=lambda key: {"a": jnp.full(4, 0.8), "u": jax.random.normal(key, (3, 4)), "w_h": jnp.eye(4) + 0.1},
        start=lambda params, batch_shape=(): {
            "slow": jnp.zeros((*batch_shape, 4)),
            "fast": jnp.ones((*batch_shape, 4)),
            "count": jnp.zeros(batch_shape, int),
        },
        step=step,
    )


CELLS = {
    "rnn": cells.rnn(3, 4),
    "lstm": cells.lstm(3, 4),
    "gru": cells.gru(3, 4),
    "stack": cells.stack(cells.lstm(3, 4), cells.rnn(4, 2)),
    "user": _user_cell(),
}


def floats(state):
    """The floating leaves of a state, flattened."""
    return ravel_pytree([s for s in jax.tree.leaves(state) if jnp.issubdtype(s.dtype, jnp.floating)])[0]


def squared_error(params, state, y):
    return jnp.sum((floats(state)[:2] - y) ** 2) + 0.1 * jnp.sum(jnp.sin(floats(state)))


class Case(NamedTuple):
    cell: Cell
    params: Any
    state: Any
    xs: jax.Array
    loss: Any
    ys: jax.Array

    @property
    def run(self):
        return self[:4]

    @property
    def size(self):
        return len(floats(self.state))

    def states(self, perturbations=None, params=None):
        """s_1 .. s_T with s_t = step(params_t, s_{t-1}, encode(params_t, x)_t) + perturbation_t."""
        states, state = [], self.state
        for t in range(len(self.xs)):
            theta = self.params if params is None else jax.tree.map(lambda p, t=t: p[t], params)
            state = self.cell.step(theta, state, self.cell.encode(theta, self.xs)[t])
            if perturbations is not None:
                leaves, tree = jax.tree.flatten(state)
                at = 0
                for k, leaf in enumerate(leaves):
                    if jnp.issubdtype(leaf.dtype, jnp.floating):
                        leaves[k] = leaf + perturbations[t, at : at + leaf.size].reshape(leaf.shape)
                        at += leaf.size
                state = jax.tree.unflatten(tree, leaves)
            states.append(state)
        return states

    def losses(self, perturbations=None, params=None):
        """l_1 .. l_T; with `params` untied over time, each loss reads the parameters of its own step."""
        theta = lambda t: self.params if params is None else jax.tree.map(lambda p: p[t], params)
        states = self.states(perturbations, params)
        return jnp.stack([self.loss(theta(t), s, self.ys[t]) for t, s in enumerate(states)])

    @property
    def none(self):
        """Perturbations of nothing."""
        return jnp.zeros((len(self.xs), self.size))


def make(cell, seed=0, length=T):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = cell.init(keys[0])
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(keys[1], jnp.shape(p)), params)
    xs = jax.random.normal(keys[2], (length, 3))
    return Case(cell, params, cell.start(params), xs, squared_error, jax.random.normal(keys[3], (length, 2)))
