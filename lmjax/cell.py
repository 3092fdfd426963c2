"""The protocol: a recurrent cell is what must be sequential, with what need not be on either side.

    s_t = step(params, s_{t-1}, encode(params, xs)_t)        y_t = read(params, s_t)

Everything in the library (training, scoring, generation, diagnosis) is written once, against
`Cell`; `lmjax.unroll` runs one over time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax

__all__ = ["Cell", "affine", "is_w_h", "passthrough", "recurrent_weights", "shift_register"]


def passthrough(params, x):
    """Return `x`: the default `encode` and `read`."""
    return x


def affine(params, state, x):
    """Return a s + b for an input x = (a, b): the `step` of a cell that is affine in its state.

        s_t = a_t s_{t-1} + b_t,        (a_t, b_t) = encode(params, xs)_t,        entry by entry

    The state is one array. `unroll` knows this step: it keeps nothing of it but the states, and
    where there is an accelerator it needs about 2 log2 T steps, not T (`lax.associative_scan`).

    >>> from lmjax.unroll import unroll
    >>> import jax.numpy as jnp
    >>> decay = lambda a, xs: (jnp.full(xs.shape, a), xs)
    >>> cell = Cell(init=None, initial_state=None, step=affine, encode=decay)
    >>> unroll(cell, 0.5, jnp.zeros(()), jnp.ones(3))[1].tolist()
    [1.0, 1.5, 1.75]

    References: Blelloch (1990); Martin and Cundy (2018).
    """
    a, b = x
    return a * state + b


def shift_register(params, state, x):
    """Return the last k inputs: the `step` of a cell that sees a window of the sequence.

        s_t = (x_{t-k+1}, ..., x_t)

    The state is a tuple of k inputs, the latest last. `unroll` knows this step, and runs no loop:
    the states are the sequence itself, moved.

    >>> shift_register(None, (1, 2, 3), 4)
    (2, 3, 4)
    """
    return *state[1:], x


class Cell(NamedTuple):
    """A recurrence as plain functions: three make a cell, `encode` and `read` are optional.

    The law: **a batch is its rows.** All functions broadcast over leading axes, so that one cell
    serves a state `[n]` and a batch of states `[B, n]`, and a batch may be cut anywhere: over
    devices, or over the steps of gradient accumulation. A cell that mixes rows (statistics over
    the batch, one noise for all) breaks it. `encode` likewise treats each time step by itself, and
    may be called for one step. `lmjax.testing.check_cell` tells whether a cell keeps these laws.

    A state is any pytree of arrays; `step` returns it and nothing else. A parameter named `w_h` is
    taken for the recurrent matrix (see `recurrent_weights`).

    >>> import jax, jax.numpy as jnp
    >>> from lmjax.unroll import unroll
    >>> leaky = Cell(
    ...     init=lambda key: {"a": jnp.float32(0.9), "u": jax.random.normal(key, (3, 4))},
    ...     initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 4)),
    ...     step=lambda params, h, x: params["a"] * h + jnp.tanh(x @ params["u"]),
    ... )
    >>> params = leaky.init(jax.random.key(0))
    >>> final, states = unroll(leaky, params, leaky.initial_state(params), jnp.ones((5, 3)))
    >>> states.shape
    (5, 4)
    """

    init: Callable  # key -> params
    initial_state: Callable  # params, batch_shape=() -> s_0
    step: Callable  # params, state, input -> state
    encode: Callable = passthrough  # params, xs[T, ...] -> inputs[T, ...]     once over all T
    read: Callable = passthrough  # params, states[...] -> outputs[...]        once over all T
    layers: tuple[Cell, ...] = ()  # the cells of a `stack`: each runs over all T by itself
    gates: Callable | None = None  # params, state, input -> {name: values in (0, 1)}; "f" keeps


def is_w_h(path: str) -> bool:
    """Return whether a leaf is named `w_h`.

    >>> is_w_h("0.w_h"), is_w_h("0.w_hat")
    (True, False)
    """
    return path.rpartition(".")[2] == "w_h"


def recurrent_weights(params, named: Callable[[str], bool] = is_w_h) -> dict[str, jax.Array]:
    """Return the recurrent matrices W_h of a cell by path: every leaf that is named `w_h`.

    Each is `[n, k n]`, k blocks (gates) side by side, acting on rows: z = h w_h.

    Args:
        params: of the cell, or a tree like them.
        named: whether the leaf of a path is one, where they have other names; for the cells of flax
            it is `lmjax.interop.flax.is_recurrent`.

    >>> import jax.numpy as jnp
    >>> params = ({"w_h": jnp.eye(2), "b": jnp.zeros(2)}, {"w_h": jnp.ones((2, 2))})
    >>> list(recurrent_weights(params))
    ['0.w_h', '1.w_h']
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
    by_path = ((name(path), leaf) for path, leaf in leaves)
    return {path: leaf for path, leaf in by_path if named(path)}
