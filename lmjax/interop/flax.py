"""Recurrent cells of flax, linen and nnx, as cells of ours, with training and every diagnosis."""

from __future__ import annotations

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.factory import factory

__all__ = ["from_linen", "from_nnx", "is_recurrent"]


def is_recurrent(path: str) -> bool:
    """Return whether a leaf of a flax cell is a recurrent matrix, for `cell.recurrent_weights`.

    >>> is_recurrent("hr.kernel"), is_recurrent("dense_h.kernel"), is_recurrent("ir.kernel")
    (True, True, False)
    """
    return re.search(r"(^|\.)(h\w?|dense_h)\.kernel$", path) is not None


def last_leaf(state):
    """Return the last leaf of a carry: the h of an LSTM's (c, h)."""
    return jax.tree.leaves(state)[-1]


@factory
def from_linen(module, n_in: int, read: Callable = last_leaf) -> Cell:
    """Return a `flax.linen` recurrent cell as a `Cell`.

        s_t, y_t = module.apply({"params": params}, s_{t-1}, x_t)

    The state is the module's carry.

    Args:
        module: an unbound module with the interface of `flax.linen.RNNCellBase`.
        n_in: size of x_t.
        read: carry -> y, what is read from it; default its last leaf, h.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> cell = from_linen(nn.GRUCell(4), 3)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), jnp.ones(3)).shape
    (4,)
    """
    carry = lambda batch_shape: module.initialize_carry(jax.random.key(0), (*batch_shape, n_in))
    return Cell(
        init=lambda key: module.init(key, carry(()), jnp.zeros(n_in))["params"],
        initial_state=lambda params, batch_shape=(): carry(batch_shape),
        step=lambda params, state, x: module.apply({"params": params}, state, x)[0],
        read=lambda params, state: read(state),
    )


@factory
def from_nnx(make, n_in: int, read: Callable = last_leaf) -> Cell:
    """Return a `flax.nnx` recurrent cell as a `Cell`.

        s_t, y_t = module(s_{t-1}, x_t)

    The parameters are the module's `nnx.Param`s as a nested dict; the state is its carry.

    Args:
        make: `rngs -> module`, as an nnx module is born with its parameters.
        n_in: size of x_t.
        read: as for `from_linen`.

    >>> import flax.nnx as nnx, jax.numpy as jnp
    >>> cell = from_nnx(lambda rngs: nnx.GRUCell(3, 4, rngs=rngs), 3)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), jnp.ones(3)).shape
    (4,)
    """
    from flax import nnx

    shapes = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, param_shapes, rest = nnx.split(shapes, nnx.Param, ...)  # type: ignore[misc]
    if jax.tree.leaves(rest):
        variables = jax.tree.leaves(rest, is_leaf=lambda v: isinstance(v, nnx.Variable))
        kinds = sorted({type(v).__name__ for v in variables})
        raise ValueError(f"from_nnx: the module must hold nnx.Params alone, got {kinds} besides")

    def bind(params):
        state = jax.tree.map(lambda x: x, param_shapes)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state, rest)

    def carry(batch_shape):
        return shapes.initialize_carry((*batch_shape, n_in), rngs=nnx.Rngs(0))

    return Cell(
        init=lambda key: nnx.to_pure_dict(nnx.state(make(nnx.Rngs(params=key)), nnx.Param)),
        initial_state=lambda params, batch_shape=(): carry(batch_shape),
        step=lambda params, state, x: bind(params)(state, x)[0],
        read=lambda params, state: read(state),
    )
