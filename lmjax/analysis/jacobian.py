"""The Jacobian of one step, ds_t/ds_{t-1}."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from lmjax.analysis.arguments import check_one_sequence
from lmjax.analysis.trajectory import trajectory
from lmjax.precision import full_precision
from lmjax.tree import partition

__all__ = ["step_jacobians"]


@partial(jax.jit, static_argnames=("cell", "chunk"))
@full_precision
def step_jacobians(cell, params, state, xs, *, mask=None, chunk: int | None = None) -> jax.Array:
    """Return the Jacobian of every step, J_t = ds_t/ds_{t-1}.

    The state is flattened as `jax.flatten_util.ravel_pytree` does: leaf after leaf in the order of
    its pytree (fields of a NamedTuple as declared, keys of a dict sorted, layers of a stack bottom
    up), each leaf row-major. Integer leaves have no derivative and are left out. Of one sequence;
    for a batch, `jax.vmap` over states and inputs.

    Args:
        cell: the recurrence.
        params: the cell's parameters.
        state: s_0 of one sequence.
        xs: inputs `[T, ...]`.
        mask: bool `[T]`; J_t = I where False.
        chunk: number of steps at a time, to bound the memory of the forward mode; default all.

    Returns:
        `[T, S, S]`, J_t[a, b] = d s_t[a] / d s_{t-1}[b].

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> step_jacobians(cell, 0.5, jnp.zeros(1), jnp.ones((2, 1))).tolist()
    [[[0.5]], [[0.5]]]
    """
    check_one_sequence("step_jacobians", cell, params, state)
    run = trajectory(cell, params, state, xs, mask)
    flat, unravel = ravel_pytree(partition(state)[0])
    basis = jax.vmap(unravel)(jnp.eye(len(flat), dtype=flat.dtype))

    def jacobian(at_t):
        columns = jax.tree.leaves(jax.vmap(run.pushforward(at_t))(basis))
        return jnp.concatenate([leaf.reshape(len(flat), -1) for leaf in columns], axis=1).T

    return (
        jax.vmap(jacobian)(run.steps)
        if chunk is None
        else lax.map(jacobian, run.steps, batch_size=chunk)
    )
