"""Where the gradient flows: dL/ds_t along a sequence."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.analysis.scaled import add, log_norm, rescale
from lmjax.analysis.trajectory import direct_gradients, trajectory

__all__ = ["StateGradients", "state_gradients"]


class StateGradients(NamedTuple):
    """The profile of dL/ds_t; `[T]`, or `[T, B]` where the loss gives one number a sequence."""

    losses: jax.Array  # l_t
    log_total: jax.Array  # ln || dL/ds_t ||: through s_t's own loss and through all later states
    log_direct: jax.Array  # ln || dl_t/ds_t ||: through its own loss alone


@partial(jax.jit, static_argnames=("cell", "loss"))
def state_gradients(cell, params, state, xs, loss, ys, *, mask=None) -> StateGradients:
    """Return the norm of the loss's gradient at every state, L = sum_t loss(params, s_t, y_t).

        dL/ds_{t-1} = J_t^T dL/ds_t + dl_{t-1}/ds_{t-1}

    The gradient keeps an integer exponent of its own, so that a norm of e^-1000 is reported as such.

    Args:
        cell: the recurrence.
        params: the cell's parameters.
        state: s_0, one sequence or a batch.
        xs: inputs `[T, ...]` or `[T, B, ...]`.
        loss: `params, s_t, y_t -> l_t`, of one step; a scalar, or `[B]`, one number a sequence, which
            then keeps the norms of the sequences apart. Static under jit.
        ys: targets, every leaf `[T, ...]`.
        mask: bool `[T]` or `[T, B]`; a padded step has no loss and passes the gradient on unchanged.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, start=None, step=lambda a, h, x: a * h + x)
    >>> last_only = lambda a, h, weight: weight * h
    >>> flow = state_gradients(cell, 0.5, jnp.zeros(()), jnp.ones(3), last_only, jnp.array([0.0, 0.0, 1.0]))
    >>> [round(x, 4) for x in jnp.exp(flow.log_total).tolist()]
    [0.25, 0.5, 1.0]
    """
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask)
    batch = losses.ndim - 1

    def body(later, at_t):
        step, direct = at_t
        total = add(*later, *rescale(direct, jnp.zeros(losses.shape[1:], jnp.int32), batch))
        ct, exponent = rescale(*total, batch)
        return rescale(run.pullback(step)(ct), exponent, batch), log_norm(ct, exponent, batch)

    nothing = rescale(
        jax.tree.map(lambda d: jnp.zeros_like(d[0]), direct), jnp.zeros(losses.shape[1:], jnp.int32), batch
    )
    _, log_total = lax.scan(body, nothing, (run.steps, direct), reverse=True)
    return StateGradients(losses, log_total, log_norm(direct, batch=batch + 1))
