"""Jacobians of the state: one step's ds_t/ds_{t-1}, and the products that carry a gradient through time."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.analysis.scaled import Scaled, rescale
from lmjax.analysis.trajectory import trajectory

__all__ = ["jacobian_product_norms", "step_jacobians"]


@partial(jax.jit, static_argnames=("cell", "chunk"))
def step_jacobians(cell, params, state, xs, *, mask=None, chunk: int | None = None) -> jax.Array:
    """Return the Jacobian of every step, J_t = ds_t/ds_{t-1}.

    The state is flattened as `jax.flatten_util.ravel_pytree` does: leaf after leaf in the order of its
    pytree (fields of a NamedTuple as declared, keys of a dict sorted, layers of a stack bottom up), each
    leaf row-major. Integer leaves have no derivative and are left out. Of one sequence; for a batch,
    `jax.vmap` over states and inputs.

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
    >>> cell = Cell(init=None, start=None, step=lambda a, h, x: a * h + x)
    >>> step_jacobians(cell, 0.5, jnp.zeros(1), jnp.ones((2, 1))).tolist()
    [[[0.5]], [[0.5]]]
    """
    run = trajectory(cell, params, state, xs, mask)
    if chunk is None:
        return jax.vmap(run.jacobian)(run.steps)
    return lax.map(run.jacobian, run.steps, batch_size=chunk)


@partial(jax.jit, static_argnames=("ord", "max_lag"))
def jacobian_product_norms(jacobians, *, ord="fro", starts=None, max_lag: int | None = None) -> Scaled:
    """Return the norms of the products of Jacobians, by start and lag.

        || dh_{j+l}/dh_j ||,    dh_{j+l}/dh_j = J_{j+l} ... J_{j+1}

    The running product is brought back to size one at every step by a power of two, which rounds nothing,
    and the powers are summed as integers: the log at lag 10,000 is right to 1e-4 in float32, where the
    plain product is exactly 0 or inf. The norm of a product is at most, and mostly well below, the product
    of the norms. One start gives one profile; for "the" profile take quantiles over starts
    (`jnp.nanquantile(norms.log, q, axis=0)`).

    Args:
        jacobians: `[T, S, S]`, J_1 to J_T as `step_jacobians` returns them.
        ord: "fro" (root of the sum of squares) or 2 (spectral: the largest singular value).
        starts: indices j `[R]` in 0..T - 1, default all of them. Costs R max_lag products of S x S.
        max_lag: largest lag, default T.

    Returns:
        Norms `[R, max_lag + 1]` as `Scaled`; `.log` gives natural logs. Lag 0 is the identity. NaN where
        j + lag > T: there is no such product.

    Raises:
        ValueError: `jacobians` is not `[T, S, S]`, `ord` is neither norm, or `max_lag` is not in 0..T.

    >>> norms = jacobian_product_norms(jnp.full((1000, 1, 1), 0.5), starts=jnp.array([0]))
    >>> [round(float(x), 2) for x in norms.log[0, jnp.array([0, 1, 1000])]]
    [0.0, -0.69, -693.15]
    """
    if jacobians.ndim != 3 or jacobians.shape[1] != jacobians.shape[2]:
        raise ValueError(f"jacobian_product_norms: jacobians must be [T, S, S], got {list(jacobians.shape)}")
    if ord not in ("fro", 2):
        raise ValueError(f"jacobian_product_norms: ord must be 'fro' or 2, got {ord!r}")
    length, size, _ = jacobians.shape
    max_lag = length if max_lag is None else max_lag
    if not 0 <= max_lag <= length:
        raise ValueError(f"jacobian_product_norms: max_lag must be in 0..T = {length}, got {max_lag}")
    starts = jnp.arange(length) if starts is None else jnp.asarray(starts)

    def body(product, lag):
        product, exponent = product
        product, exponent = rescale(jacobians[jnp.minimum(starts + lag - 1, length - 1)] @ product, exponent, batch=1)
        return (product, exponent), (_norm(product, ord), exponent)

    identity = jnp.broadcast_to(jnp.eye(size, dtype=jacobians.dtype), (len(starts), size, size))
    first = (identity, jnp.zeros(len(starts), jnp.int32))
    _, (mantissa, exponent) = lax.scan(body, first, jnp.arange(1, max_lag + 1))
    mantissa = jnp.concatenate([_norm(identity, ord)[None], mantissa]).T
    exponent = jnp.concatenate([jnp.zeros_like(first[1])[None], exponent]).T
    inside = starts[:, None] + jnp.arange(max_lag + 1) <= length
    return Scaled(jnp.where(inside, mantissa, jnp.nan), exponent)


def _norm(matrices, ord):
    """Norms of matrices `[R, S, S]` whose largest entry is near one; the Gram matrix is cheaper than an SVD."""
    if ord == "fro":
        return jnp.sqrt(jnp.sum(matrices**2, axis=(1, 2)))
    return jnp.sqrt(jnp.linalg.eigvalsh(jnp.swapaxes(matrices, 1, 2) @ matrices)[:, -1])
