"""One run of a cell, laid out so that every step can be linearised by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from lmjax.cell import _join, _masked, _prepare, _split, scan

__all__ = ["Trajectory", "direct_gradients", "trajectory"]


class Trajectory(NamedTuple):
    """The steps s_t = step(params, s_{t-1}, input_t, valid_t) of one run; a padded step is the identity."""

    step: Callable
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
        """Return ds_t -> ds_{t-1} = (ds_t/ds_{t-1})^T ds_t for cotangents of the floating leaves."""
        previous, x, valid = at_t
        floats, others = _split(previous)
        _, pull = jax.vjp(lambda s: _split(self.step(self.params, _join(s, others), x, valid))[0], floats)
        return lambda ct: pull(ct)[0]

    def jacobian(self, at_t) -> jax.Array:
        """Return ds_t/ds_{t-1}, `[S, S]`."""
        previous, x, valid = at_t
        floats, others = _split(previous)
        flat, unravel = ravel_pytree(floats)
        step = lambda s: ravel_pytree(_split(self.step(self.params, _join(unravel(s), others), x, valid))[0])[0]
        return jax.jacfwd(step)(flat)


def trajectory(cell, params, state, xs, mask=None) -> Trajectory:
    """Run a cell and keep what linearising its steps needs."""
    step, _, closed, _, inputs, _ = _prepare(cell, params, state, xs, mask, False)
    _, states = scan(cell, params, state, xs, mask=mask)
    previous = jax.tree.map(
        lambda first, s: jnp.concatenate([jnp.asarray(first, s.dtype)[None], s[:-1]]), state, states
    )
    return Trajectory(_masked(step), closed, previous, states, inputs, mask)


def direct_gradients(loss, params, states, ys, mask=None):
    """Return l_t = loss(params, s_t, y_t) and dl_t/ds_t for every step; a padded step has no loss.

    The loss may give one number a sequence (`[B]`): its shape says which axes of a state are batch axes.

    Returns:
        `(losses [T, ...], dl_t/ds_t [T, ...] in the floating leaves of the state)`.
    """

    def at_t(states_t, y, valid):
        floats, others = _split(states_t)
        if valid is not None:
            y = jax.tree.map(lambda v: jnp.where(_like(valid, v), v, jnp.zeros_like(v)), y)

        def masked_loss(s):
            value = jnp.asarray(loss(params, _join(s, others), y))
            if valid is None:
                return value
            if value.ndim < valid.ndim:
                raise ValueError(
                    f"loss must give one number a sequence where the mask is [T, B], got shape {value.shape} "
                    f"for a mask of {valid.shape} a step"
                )
            return jnp.where(_like(valid, value), value, 0)

        value, pull = jax.vjp(masked_loss, floats)
        return value, pull(jnp.ones_like(value))[0]

    return jax.vmap(at_t)(states, ys, mask)


def _like(valid, x):
    """Give a mask `[...]` trailing axes, to broadcast against x."""
    return valid.reshape(valid.shape + (1,) * (jnp.ndim(x) - valid.ndim))
