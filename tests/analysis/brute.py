"""Cells to analyse, and brute force: `jax.jacrev` of the recurrence with untied parameters."""

from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from lmjax import cells
from lmjax.cell import Cell
from lmjax.interop.flax import from_linen, from_nnx

T, N_IN = 5, 3


def _user_cell():
    """A dict for a state, an integer in it, and a step of one's own."""

    def step(params, state, x):
        z = x @ params["u"] + state["fast"] @ params["w_h"]
        slow = params["a"] * state["slow"] + jnp.tanh(z)
        return {
            "slow": slow,
            "fast": jnp.sin(slow) * state["fast"] + x @ params["u"],
            "count": state["count"] + 1,
        }

    return Cell(
        init=lambda key: {
            "a": jnp.full(4, 0.8),
            "u": jax.random.normal(key, (N_IN, 4)),
            "w_h": jnp.eye(4) + 0.1,
        },
        initial_state=lambda params, batch_shape=(): {
            "slow": jnp.zeros((*batch_shape, 4)),
            "fast": jnp.ones((*batch_shape, 4)),
            "count": jnp.zeros(batch_shape, int),
        },
        step=step,
    )


CELLS = {
    "rnn": lambda: cells.rnn(N_IN, 4),
    "lstm": lambda: cells.lstm(N_IN, 3),
    "gru": lambda: cells.gru(N_IN, 4),
    "stack": lambda: cells.stack(cells.lstm(N_IN, 2), cells.rnn(2, 2)),
    "user": _user_cell,
    "linen": lambda: from_linen(nn.LSTMCell(3, param_dtype=jnp.float64, dtype=jnp.float64), N_IN),
    "nnx": lambda: from_nnx(
        lambda rngs: nnx.GRUCell(N_IN, 4, param_dtype=jnp.float64, rngs=rngs), N_IN
    ),
}


def flat(state):
    """The floating leaves of a state, flattened."""
    return ravel_pytree(
        [s for s in jax.tree.leaves(state) if jnp.issubdtype(s.dtype, jnp.floating)]
    )[0]


def shifted(state, shift):
    """The state plus a flat perturbation of its floating leaves."""
    leaves, tree = jax.tree.flatten(state)
    floating = [k for k, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    parts = jnp.split(shift, np.cumsum([leaves[k].size for k in floating])[:-1])
    for k, part in zip(floating, parts, strict=True):
        leaves[k] = leaves[k] + part.reshape(leaves[k].shape)
    return jax.tree.unflatten(tree, leaves)


def squared_error(params, state, y):
    """A loss that reads parameters too, as an output layer tied to the cell would."""
    some = ravel_pytree(jax.tree.leaves(params)[0])[0][:2]
    return jnp.sum((flat(state)[:2] * some - y) ** 2) + 0.1 * jnp.sum(jnp.sin(flat(state)))


class Case(NamedTuple):
    """Arguments of an analysis, in order."""

    cell: Cell
    params: Any
    state: Any
    xs: jax.Array
    loss: Any
    ys: jax.Array

    @property
    def run(self):
        return self[:4]


@cache
def make(name, length=T, seed=0):
    cell = CELLS[name]()
    keys = jax.random.split(jax.random.key(seed), 4)
    params = jax.tree.map(
        lambda p: p + 0.3 * jax.random.normal(keys[1], jnp.shape(p)), cell.init(keys[0])
    )
    xs, ys = jax.random.normal(keys[2], (length, N_IN)), jax.random.normal(keys[3], (length, 2))
    return Case(cell, params, cell.initial_state(params), xs, squared_error, ys)


class Derivatives(NamedTuple):
    losses: jax.Array  # l_i   [T]
    states: jax.Array  # ds_i/ds_j   [T, T, S, S]
    loss_states: jax.Array  # dl_i/ds_j   [T, T, S]
    loss_inputs: Any  # dl_i/dinput_j   [T, T, ...]
    loss_params: Any  # dl_i/dtheta|_(j), theta as used at step j   [T, T, ...]


@cache
def brute(name, length=T) -> Derivatives:
    cell, params, state, xs, loss, ys = make(name, length)

    def run(shifts, input_shifts, untied):
        def body(state, at_t):
            shift, input_shift, params, x, y = at_t
            z = jax.tree.map(lambda v: v[0], cell.encode(params, x[None])) + input_shift
            state = shifted(cell.step(params, state, z), shift)
            return state, (flat(state), loss(params, state, y))

        return lax.scan(body, state, (shifts, input_shifts, untied, xs, ys))[1]

    @jax.jit
    def derivatives():
        untied = jax.tree.map(lambda p: jnp.broadcast_to(p, (length, *jnp.shape(p))), params)
        at = (
            jnp.zeros((length, len(flat(state)))),
            jnp.zeros(jax.eval_shape(cell.encode, params, xs).shape),
            untied,
        )
        states = jax.jacrev(lambda e: run(e, *at[1:])[0])(at[0])
        return Derivatives(
            run(*at)[1],
            jnp.swapaxes(states, 1, 2),
            *jax.jacrev(lambda *a: run(*a)[1], argnums=(0, 1, 2))(*at),
        )

    return derivatives()


def log_norm(x, axes=1):
    """Log of the norm over the last axes."""
    with np.errstate(divide="ignore"):
        return np.log(np.linalg.norm(np.asarray(x).reshape(*x.shape[: x.ndim - axes], -1), axis=-1))


def check_contributions(contributions, untied, whole, atol=1e-10):
    """Against the gradients g_t of parameters that are untied over time, and their sum."""
    for g, norms, shares, got, of in zip(
        *map(
            jax.tree.leaves,
            (untied, contributions.log_norms, contributions.shares, contributions.gradient, whole),
        ),
        strict=True,
    ):
        g = np.asarray(g).reshape(len(g), -1)
        np.testing.assert_allclose(got, of, atol=atol)
        np.testing.assert_allclose(np.exp(norms), np.linalg.norm(g, axis=1), atol=atol)
        np.testing.assert_allclose(shares, g @ g.sum(0) / (g.sum(0) @ g.sum(0)), atol=atol)
        assert abs(shares.sum() - 1) < 1e-13
