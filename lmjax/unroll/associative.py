"""Cells affine in the state, s_t = a_t s_{t-1} + b_t: time in parallel, in log T steps."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.cell import affine
from lmjax.tree import shift, where

__all__ = ["in_parallel", "in_sequence", "run_affine"]


def run_affine(reverse: bool, state, inputs, mask):
    """Run s_t = a_t s_{t-1} + b_t from `inputs` (a, b); a padded step is a = 1, b = 0."""
    like_state = jax.vmap(lambda x: jnp.broadcast_to(x, state.shape).astype(state.dtype))
    a, b = map(like_state, inputs)
    if mask is not None:
        a, b = where(mask, (a, b), (1, 0))
    states = solve(reverse, state, a, b)
    return states[0 if reverse else -1], states


def in_sequence(reverse, state, a, b):
    """Return all states, one after the other."""

    def body(state, at_t):
        state = affine(None, state, at_t)
        return state, state

    return lax.scan(body, state, (a, b), reverse=reverse)[1]


def in_parallel(reverse, state, a, b):
    """Return all states, by composing maps: (g after f)(s) = g_a f_a s + (g_a f_b + g_b)."""
    compose = lambda f, g: (g[0] * f[0], g[0] * f[1] + g[1])
    decay, states = lax.associative_scan(compose, (a, b), reverse=reverse)
    return decay * state + states


def choose(reverse, state, a, b):
    """Return all states; a CPU gains nothing from the parallel form, at any size."""
    sequence, parallel = partial(in_sequence, reverse), partial(in_parallel, reverse)
    return lax.platform_dependent(state, a, b, cpu=sequence, default=parallel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def solve(reverse, state, a, b):
    """Return all states, differentiated in reverse mode by the same recurrence run the other way.

    dL/ds_{t-1} = a_t dL/ds_t + ct_{t-1},     dL/db_t = dL/ds_t,     dL/da_t = s_{t-1} dL/ds_t
    """
    return choose(reverse, state, a, b)


def solve_forward(reverse, state, a, b):
    states = choose(reverse, state, a, b)
    return states, (state, a, states)


def solve_backward(reverse, residuals, ct):
    state, a, states = residuals
    zero = jnp.zeros_like(state)
    total = choose(not reverse, zero, shift(zero, a, not reverse), ct)
    first = -1 if reverse else 0
    return (a * total)[first], shift(state, states, reverse) * total, total


solve.defvjp(solve_forward, solve_backward)
