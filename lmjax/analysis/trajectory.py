"""One run of a cell with every step's derivative, as the backward pass through time keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lmjax.analysis.arguments import batch_of
from lmjax.tree import combine, partition, shift, where
from lmjax.unroll.backward import run_linearised
from lmjax.unroll.reference import check_arguments, masked

__all__ = ["Trajectory", "direct_gradients", "step_loss", "trajectory"]


class Trajectory(NamedTuple):
    """The steps s_t = step(params, s_{t-1}, input_t, valid_t) of a run; padding is the identity.

    With a mask the derivative's third argument is the pair (dinput_t, None).
    """

    step: Callable  # params, state, input, valid -> state
    derivative: Callable  # what `steps` holds at t -> (dparams, ds_{t-1}, dinput_t) -> ds_t
    like: Any  # types of its arguments' floating leaves
    steps: Any  # t, and what the derivative at t is made of (nothing where it is constant) [T, ...]
    previous: Any  # s_{t-1}   [T, ...]
    states: Any  # s_t         [T, ...]
    inputs: Any  # encode(params, xs)   [T, ...]
    mask: jax.Array | None  # [T] or [T, B]
    batch: tuple[int, ...] | None  # axes of a state before those of one sequence, if known

    def pullback(self, at_t) -> Callable:
        """Return ds_t -> (dparams, ds_{t-1}, dinput_t), the derivative at t transposed."""
        return jax.linear_transpose(self.derivative(at_t), *self.like)

    def pushforward(self, at_t) -> Callable:
        """Return ds_{t-1} -> ds_t, the derivative at t."""
        params, _, x = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), self.like)
        return lambda tangent: self.derivative(at_t)(params, tangent, x)


def trajectory(cell, params, state, xs, mask=None) -> Trajectory:
    """Run a cell, and keep the derivative of every step."""
    check_arguments(cell, params, state, xs, mask)
    with_mask, padded = masked(cell, xs, mask)
    inputs = with_mask.encode(params, padded)
    results, linearised, constants, residuals = run_linearised(
        with_mask.step, False, params, state, inputs
    )
    _, states = results

    def step(params, state, x, valid):
        return with_mask.step(params, state, x if mask is None else (x, valid))

    return Trajectory(
        step,
        lambda at_t: linearised.derivative(constants, at_t[1]),
        linearised.like,
        (jnp.arange(len(jax.tree.leaves(inputs)[0])), residuals),
        shift(state, states),
        states,
        inputs if mask is None else inputs[0],
        mask,
        batch_of(cell, params, state),
    )


def step_loss(loss):
    """Return `params, s_t, y_t, valid_t -> l_t`: zero where padded, whatever y holds there."""

    def masked(params, state, y, valid):
        if valid is None:
            return jnp.asarray(loss(params, state, y))
        y = where(valid, y, jax.tree.map(jnp.zeros_like, y))
        value = jnp.asarray(loss(params, state, y))
        if value.ndim < valid.ndim:
            raise ValueError(
                "loss: with a mask [T, B] it must give one number a sequence, "
                f"{valid.shape}, got shape {value.shape}"
            )
        return where(valid, value, 0)

    return masked


def direct_gradients(loss, params, states, ys, mask=None, batch=None):
    """Return l_t = loss(params, s_t, y_t) and dl_t/ds_t of every step.

    The loss may give one number a sequence (`[B]`): its shape says which axes of a state are
    batch axes, and must be those of `batch` where they are known.

    Returns:
        `(losses [T, ...], dl_t/ds_t [T, ...] in the floating leaves of the state)`.
    """

    def at_t(state, y, valid):
        floats, others = partition(state)
        value, pull = jax.vjp(
            lambda s: step_loss(loss)(params, combine(s, others), y, valid), floats
        )
        if batch is not None and value.shape != batch[: value.ndim]:
            one_each = f", or one a sequence, {list(batch)}" if batch else ""
            raise ValueError(
                f"loss: must give one number a step{one_each}, got shape {list(value.shape)}"
            )
        return value, pull(jnp.ones_like(value))[0]

    return jax.vmap(at_t)(states, ys, mask)
