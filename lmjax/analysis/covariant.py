"""Covariant Lyapunov vectors: the directions that grow or die at each exponent's rate."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.analysis.arguments import check_one_sequence
from lmjax.analysis.lyapunov import orthogonal_directions, qr_step
from lmjax.analysis.trajectory import trajectory
from lmjax.precision import full_precision

__all__ = ["CovariantVectors", "covariant_lyapunov_vectors"]


class CovariantVectors(NamedTuple):
    """Directions v_t^1..v_t^k at every state, which the Jacobians carry into each other."""

    vectors: jax.Array  # [T, S, k]  at s_1..s_T, of norm 1
    log_growth: jax.Array  # [T, k]  ln || J_t v_{t-1} ||; the means are the exponents


@partial(jax.jit, static_argnames=("cell", "num_vectors"))
@full_precision
def covariant_lyapunov_vectors(
    cell, params, state, xs, *, key, num_vectors: int | None = None, mask=None
) -> CovariantVectors:
    """Return the covariant Lyapunov vectors along a run.

        J_t v_{t-1}^i = growth_t^i v_t^i,      mean_t ln growth_t^i = lambda_i

    The QR sweep of `lyapunov_spectrum` gives Q_t and R_t; v_t = Q_t c_t, where the coefficients are
    carried back, R_t c_{t-1} = growth_t c_t, and turn into those of the vectors as they go. Near
    either end the vectors are still those of the random start: leave out as many steps as memory
    lasts, 1 over the least distance of two exponents. Unlike the columns of Q_t they do not depend
    on the norm, and are not orthogonal: nearly parallel ones mean that growing and dying directions
    meet.

    Args:
        cell: the recurrence.
        params: its parameters.
        state: s_0 of one sequence.
        xs: inputs `[T, ...]`.
        key: draws the directions at both ends.
        num_vectors: k, those of the largest exponents; default all S.
        mask: bool `[T]`; at a padded step the vectors stay, and growth is 1.

    Raises:
        ValueError: `num_vectors` is not in 1..S.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda w, h, x: w @ h)
    >>> run = cell, jnp.array([[2.0, 1.0], [0.0, 0.5]]), jnp.zeros(2), jnp.zeros(99)
    >>> vectors, growth = covariant_lyapunov_vectors(*run, key=jax.random.key(0))
    >>> [round(float(x), 3) for x in (*jnp.exp(growth[50]), *jnp.abs(vectors[50, :, 1]))]
    [2.0, 0.5, 0.555, 0.832]

    References: Ginelli, Poggi, Turchi, Chate, Livi and Politi (2007).
    """
    check_one_sequence("covariant_lyapunov_vectors", cell, params, state)
    k_forward, k_back = jax.random.split(key)
    q, unravel = orthogonal_directions(
        "covariant_lyapunov_vectors: num_vectors", state, num_vectors, k_forward
    )
    run = trajectory(cell, params, state, xs, mask)

    def ahead(q, step):
        q, r = qr_step(run, unravel, q, step)
        return q, (q, r)

    def back(c, of_step):
        q, r = of_step
        before = jax.scipy.linalg.solve_triangular(r, c)
        norms = jnp.linalg.norm(before, axis=0)
        return before / norms, (q @ c, -jnp.log(norms))

    _, sweep = lax.scan(ahead, q, run.steps)
    count = q.shape[1]
    c = jnp.triu(jax.random.normal(k_back, (count, count), q.dtype))
    c = c / jnp.linalg.norm(c, axis=0)
    return CovariantVectors(*lax.scan(back, c, sweep, reverse=True)[1])
