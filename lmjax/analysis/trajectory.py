"""One run of a cell, laid out so that every step can be linearised by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lmjax.cell import _before, _check, _converted, _padded, scan
from lmjax.tree import combine, partition, where

__all__ = ["Trajectory", "direct_gradients", "trajectory"]


class Trajectory(NamedTuple):
    """The steps s_t = step(params, s_{t-1}, input_t, valid_t) of a run; padded, the identity."""

    step: Callable  # params, state, input, valid -> state
    params: Any
    previous: Any  # s_{t-1}   [T, ...]
    states: Any  # s_t         [T, ...]
    inputs: Any  # encode(params, xs)   [T, ...]
    mask: jax.Array | None  # [T] or [T, B]

    @property
    def steps(self):
        """What varies with t: `(s_{t-1}, input_t, valid_t)`, every leaf `[T, ...]`."""
        return self.previous, self.inputs, self.mask

    def pullback(self, at_t) -> Callable:
        """Return ds_t -> (dparams, ds_{t-1}, dinput_t), the transposed step linearised at t."""
        previous, x, valid = at_t
        (params, params_int), (state, state_int) = partition(self.params[0]), partition(previous)
        x, x_int = partition(x)

        def step(params, state, x):
            params = combine(params, params_int), self.params[1]
            return partition(
                self.step(params, combine(state, state_int), combine(x, x_int), valid)
            )[0]

        return jax.vjp(step, params, state, x)[1]

    def pushforward(self, at_t) -> Callable:
        """Return ds_{t-1} -> ds_t, the step linearised at t."""
        previous, x, valid = at_t
        floats, others = partition(previous)
        step = lambda s: partition(self.step(self.params, combine(s, others), x, valid))[0]
        return lambda tangent: jax.jvp(step, (floats,), (tangent,))[1]


def trajectory(cell, params, state, xs, mask=None) -> Trajectory:
    """Run a cell and keep what linearising its steps needs."""
    _check(cell, params, state, xs, mask)
    padded, padded_xs = _padded(cell, xs, mask)
    (step, encode), converted = _converted(padded, params, state, padded_xs)
    inputs = encode(converted, padded_xs)
    _, states = scan(cell, params, state, xs, mask=mask)
    previous = jax.tree.map(
        lambda first, s: _before(False, jnp.asarray(first, s.dtype), s), state, states
    )
    if mask is None:
        return Trajectory(
            lambda params, s, x, valid: step(params, s, x),
            converted,
            previous,
            states,
            inputs,
            None,
        )
    return Trajectory(
        lambda params, s, *at_t: step(params, s, at_t), converted, previous, states, *inputs
    )


def step_loss(loss):
    """Return `params, s_t, y_t, valid_t -> l_t`: zero where padded, whatever y holds there."""

    def masked(params, state, y, valid):
        if valid is None:
            return jnp.asarray(loss(params, state, y))
        known = where(valid, y, jax.tree.map(jnp.zeros_like, y))
        value = jnp.asarray(loss(params, state, known))
        if value.ndim < valid.ndim:
            raise ValueError(
                "loss: with a mask [T, B] it must give one number a sequence, "
                f"{valid.shape}, got shape {value.shape}"
            )
        return where(valid, value, 0)

    return masked


def direct_gradients(loss, params, states, ys, mask=None):
    """Return l_t = loss(params, s_t, y_t) and dl_t/ds_t of every step.

    The loss may give one number a sequence (`[B]`): its shape says which axes of a state are batch
    axes.

    Returns:
        `(losses [T, ...], dl_t/ds_t [T, ...] in the floating leaves of the state)`.
    """

    def at_t(state, y, valid):
        floats, others = partition(state)
        value, pull = jax.vjp(
            lambda s: step_loss(loss)(params, combine(s, others), y, valid), floats
        )
        return value, pull(jnp.ones_like(value))[0]

    return jax.vmap(at_t)(states, ys, mask)
