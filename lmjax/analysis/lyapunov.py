"""Lyapunov exponents: the rates at which small differences of state grow or die along a run."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from lmjax.analysis.arguments import check_one_sequence
from lmjax.analysis.trajectory import Trajectory, trajectory
from lmjax.precision import full_precision
from lmjax.tree import partition

__all__ = ["LyapunovSpectrum", "lyapunov_spectrum"]


class LyapunovSpectrum(NamedTuple):
    """The k largest Lyapunov exponents of a run, in nats a step."""

    exponents: jax.Array  # [k]
    standard_error: jax.Array  # [k]  from means of batches of steps; NaN for a single step
    local: jax.Array  # [T, k]  ln |R_ii| of each step; their mean after the burn-in is the exponent
    kaplan_yorke: jax.Array  # []  dimension; NaN where more than k exponents are needed to tell
    entropy_bound: jax.Array  # []  of the entropy rate: the sum of the positive exponents


@partial(jax.jit, static_argnames=("cell", "num_exponents", "burn_in"))
@full_precision
def lyapunov_spectrum(
    cell, params, state, xs, *, key, num_exponents: int | None = None, burn_in: int = 0, mask=None
) -> LyapunovSpectrum:
    """Return the Lyapunov spectrum of a cell along its run over the inputs.

        Q_t R_t = J_t Q_{t-1},      lambda_i = mean_t ln |R_t[i, i]|

    An exponent above 0 makes gradients explode, a spectrum far below 0 makes them vanish. Only k
    directions are carried, each pushed forward through the step: no Jacobian is formed. All results
    are differentiable, so that a function of them can be a regulariser.

    Args:
        cell: the recurrence.
        params: its parameters.
        state: s_0 of one sequence.
        xs: inputs `[T, ...]`.
        key: draws the first directions Q_0.
        num_exponents: k, default all S of them.
        burn_in: number of first steps in which the directions and the state settle, left out of the
            means.
        mask: bool `[T]`; a padded step counts for nothing.

    Raises:
        ValueError: `num_exponents` is not in 1..S, or `burn_in` not in 0..T - 1.

    >>> from lmjax.cell import Cell
    >>> logistic = Cell(init=None, initial_state=None, step=lambda r, s, x: r * s * (1 - s))
    >>> run = (logistic, 4.0, jnp.full(1, 0.3), jnp.zeros(5000))
    >>> bool(abs(lyapunov_spectrum(*run, key=jax.random.key(0)).exponents[0] - jnp.log(2)) < 0.01)
    True

    References: Benettin, Galgani, Giorgilli and Strelcyn (1980); Kaplan and Yorke (1979); Pesin
    (1977); Engelken, Wolf and Abbott (2023).
    """
    check_one_sequence("lyapunov_spectrum", cell, params, state)
    length = len(jax.tree.leaves(xs)[0])
    q, unravel = orthogonal_directions(
        "lyapunov_spectrum: num_exponents", state, num_exponents, key
    )
    if not 0 <= burn_in < length:
        raise ValueError(
            f"lyapunov_spectrum: burn_in must be in 0..T - 1 = {length - 1}, got {burn_in}"
        )
    run = trajectory(cell, params, state, xs, mask)

    def body(q, step):
        q, r = qr_step(run, unravel, q, step)
        return q, jnp.log(jnp.abs(jnp.diagonal(r)))

    _, local = lax.scan(body, q, run.steps)
    counted = jnp.ones(length - burn_in, bool) if mask is None else mask[burn_in:]
    exponents, standard_error = _mean(local[burn_in:], counted)
    return LyapunovSpectrum(
        exponents,
        standard_error,
        local,
        _kaplan_yorke(exponents, len(q)),
        jnp.sum(jnp.maximum(exponents, 0)),
    )


def orthogonal_directions(name: str, state, count: int | None, key):
    """Return `count` random directions of a state as columns `[S, k]`, and the way back from one.

    Raises:
        ValueError: `count` is not in 1..S; it is called `name`.
    """
    flat, unravel = ravel_pytree(partition(state)[0])
    size = len(flat)
    k = size if count is None else count
    if not 1 <= k <= size:
        raise ValueError(f"{name} must be in 1..S = {size}, got {count}")
    return jnp.linalg.qr(jax.random.normal(key, (size, k), flat.dtype))[0], unravel


def qr_step(run: Trajectory, unravel, q, step):
    """Return Q_t and R_t of J_t Q_{t-1} = Q_t R_t: directions pushed forward through a step."""
    push = lambda column: ravel_pytree(run.pushforward(step)(unravel(column)))[0]
    return jnp.linalg.qr(jax.vmap(push, 1, 1)(q))


def _mean(x, counted):
    """Mean over the counted steps, and its standard error from about sqrt(T) batches of steps."""
    length = len(x)
    batches = max(2, int(length**0.5))
    of_step = jnp.arange(length) * batches // length
    counted = counted.astype(x.dtype)
    total = jnp.sum(counted)
    mean = jnp.sum(jnp.where(counted[:, None] > 0, x, 0), axis=0) / total
    excess = jnp.where(counted[:, None] > 0, x - mean, 0)
    sums = jax.ops.segment_sum(excess, of_step, batches)
    square = jnp.sum(sums**2, axis=0) * batches / (batches - 1)
    error = jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0) / total
    return mean, jnp.where(total > 1, error, jnp.nan)


def _kaplan_yorke(exponents, size):
    """D = j + (lambda_1 + ... + lambda_j) / |lambda_{j+1}|, j the last with a sum not below 0."""
    ordered = -jnp.sort(-exponents)
    sums = jnp.cumsum(ordered)
    j = jnp.sum(sums >= 0)
    at = jnp.minimum(j, len(ordered) - 1)
    fraction = jnp.where(j > 0, sums[j - 1], 0) / jnp.where(ordered[at] < 0, -ordered[at], 1)
    beyond = size if len(ordered) == size else jnp.nan
    return jnp.where(j == len(ordered), beyond, j + fraction)
