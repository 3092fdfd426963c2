"""In how many directions states vary."""

import jax
import jax.numpy as jnp

from lmjax.precision import full_precision

__all__ = ["participation_ratio"]


@jax.jit
@full_precision
def participation_ratio(states) -> jax.Array:
    """Return the number of directions in which states vary, about evenly.

        D = (sum_i lambda_i)^2 / sum_i lambda_i^2,    lambda_i: eigenvalues of the covariance

    From 1, where they lie on a line, to S, where all directions have the same variance. It counts
    by variance; `lyapunov_spectrum(...).kaplan_yorke` counts by growth, for states that are driven
    by their own dynamics alone.

    Args:
        states: `[..., S]`, each one a sample.

    Returns:
        `[]`; NaN where nothing varies.

    >>> float(participation_ratio(jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])))
    2.0

    References: Abbott, Rajan and Sompolinsky (2011).
    """
    flat = states.reshape(-1, states.shape[-1])
    excess = flat - flat.mean(0)
    excess = excess / jnp.max(jnp.abs(excess))  # a ratio: squares must not leave the range
    covariance = excess.T @ excess
    return jnp.trace(covariance) ** 2 / jnp.sum(covariance**2)
