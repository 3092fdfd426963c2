"""The backward pass through time, for any cell.

    forward      s_t = step(params, s_{t-1}, x_t),  and the step's derivative at every t
    backward     dL/ds_{t-1} = (ds_t/ds_{t-1})^T dL/ds_t + direct use of s_{t-1}:  a reverse scan
    at the end   dL/dparams = sum_t (ds_t/dparams)^T dL/ds_t:  one contraction over all T

Autodiff of a scan adds to dL/dparams at every step instead: T small products that each update an
accumulator of the size of the weights.

References: Werbos (1990); Williams and Peng (1990).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial

from lmjax.tree import add, partition, shift, vary_alike
from lmjax.unroll.residuals import Linearised, linearise

__all__ = ["PLAIN", "Gradients", "Schedule", "run", "run_forward", "run_linearised"]


class Gradients(NamedTuple):
    """What one backward pass through time yields for a scalar loss L."""

    params: Any  # dL/dtheta
    state: Any  # dL/ds_0
    inputs: Any  # dL/dinput_t   [T, ...]
    states: Any  # dL/ds_t   [T, ...]   through s_t's own use and through all later states


class Schedule(NamedTuple):
    """How a backend is helped; results do not depend on it. The defaults are plain JAX."""

    arrange: Callable = lambda cell: cell  # what the loop runs
    prepare: Callable = lambda constants, state: lambda: constants  # before the loop -> within it
    linear_transpose: Callable = jax.linear_transpose  # of the contraction over all T


PLAIN = Schedule()


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def run(step: Callable, reverse: bool, schedule: Schedule, params, state, inputs):
    """Return `(final, states)` of s_t = step(params, s_{t-1}, inputs_t), T at least 1."""
    return run_forward(step, reverse, schedule, params, state, inputs)[0]


def run_forward(step, reverse, schedule, params, state, inputs):
    """Return `(final, states)` and their pullback, (ct_final, ct_states) -> Gradients."""
    results, linearised, *kept = run_linearised(step, reverse, params, state, inputs)
    return results, Partial(partial(backpropagate, linearised, reverse, schedule), *kept)


def run_linearised(step: Callable, reverse: bool, params, state, inputs):
    """Run the recurrence and keep the derivative of every step.

    Returns:
        `((final, states), linearised, constants, residuals)`: the derivative of step t is
        `linearised.derivative(constants, residuals[t])`.
    """
    linearised = linearise(step, params, state, jax.tree.map(lambda x: x[0], inputs))
    constants = linearised.hoist(params)

    def body(state, x):
        state, residuals = linearised.step(constants, state, x)
        return state, (state, residuals)

    final, (states, stacked) = lax.scan(body, state, inputs, reverse=reverse)
    previous = shift(state, states, reverse)
    residuals = linearised.gather(stacked, previous, inputs, states)
    return (final, states), linearised, constants, residuals


def backpropagate(
    linearised: Linearised,
    reverse: bool,
    schedule: Schedule,
    constants,
    residuals,
    ct_final,
    ct_states,
) -> Gradients:
    """Transpose the linearised recurrence.

    Args:
        linearised: the step; it and what follows are of `run_linearised`.
        reverse: the direction of the way forward.
        schedule: see `Schedule`.
        constants: what does not vary with t.
        residuals: of all steps `[T, ...]`.
        ct_final: dL/ds_T, direct.
        ct_states: dL/ds_t, direct `[T, ...]`.
    """
    prepared = schedule.prepare(constants, linearised.like[1])

    def derivative(residuals):
        return linearised.derivative(prepared(), residuals)

    def pull(residuals, ct):
        return jax.linear_transpose(derivative(residuals), *linearised.like)(ct)

    def body(ct, at_t):
        residuals, direct = at_t
        ct = add(ct, direct)  # dL/ds_t
        _, ct_previous, _ = pull(residuals, ct)
        return ct_previous, ct

    length = len(jax.tree.leaves(ct_states)[0])
    direct = residuals, partition(ct_states)[0]
    ct_state, cts = lax.scan(body, partition(ct_final)[0], direct, length, reverse=not reverse)
    over_time = partial(jax.vmap, axis_size=length)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), linearised.like[1:])
    nothing, _ = vary_alike((zeros, cts))

    def all_steps(params):
        return over_time(lambda residuals: derivative(residuals)(params, *nothing))(residuals)

    (ct_params,) = schedule.linear_transpose(all_steps, linearised.like[0])(cts)
    _, _, ct_inputs = over_time(pull)(residuals, cts)
    return Gradients(ct_params, ct_state, ct_inputs, cts)


def run_backward(step, reverse, schedule, pullback, cotangents):
    gradients = pullback(*cotangents)
    return gradients.params, gradients.state, gradients.inputs


run.defvjp(run_forward, run_backward)
