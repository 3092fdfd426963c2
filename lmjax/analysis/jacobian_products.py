"""Products of Jacobians, which carry a gradient through time: their norms and singular values."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.analysis.arguments import check_one_sequence, settled, steps
from lmjax.analysis.scaled import Scaled, rescale
from lmjax.analysis.trajectory import trajectory
from lmjax.precision import full_precision
from lmjax.tree import partition

__all__ = [
    "NormProbes",
    "SingularValues",
    "jacobian_norm_probes",
    "jacobian_product_norms",
    "product_log_singular_values",
]


@settled("jacobians", starts=steps)
@partial(jax.jit, static_argnames=("ord", "max_lag"))
@full_precision
def jacobian_product_norms(
    jacobians, *, ord="fro", starts=None, max_lag: int | None = None
) -> Scaled:
    """Return the norms of the products of Jacobians, by start and lag.

        || dh_{j+l}/dh_j ||,    dh_{j+l}/dh_j = J_{j+l} ... J_{j+1}

    The running product is brought back to size one at every step by a power of two, which rounds
    nothing, and the powers are summed as integers: for a cell's Jacobians the log at lag 10,000 is
    right to 1e-4 in float32, where the plain product is exactly 0 or inf. (What is left is the
    rounding of each matrix product, which counts for more where a factor all but annihilates the
    product so far.)

    The norm of a product is at most, and mostly well below, the product of the norms. One start
    gives one profile; for "the" profile take quantiles over starts,
    `jnp.nanquantile(norms.log, q, axis=0)`.

    Args:
        jacobians: `[T, S, S]`, J_1 to J_T as `step_jacobians` returns them.
        ord: "fro" (root of the sum of squares) or 2 (spectral: the largest singular value).
        starts: indices j `[R]` in 0..T - 1, default all of them. Costs R max_lag products of S x S.
        max_lag: largest lag, default T.

    Returns:
        Norms `[R, max_lag + 1]` as `Scaled`; `.log` gives natural logs. Lag 0 is the identity. NaN
        where j + lag > T: there is no such product.

    Raises:
        ValueError: `jacobians` is not `[T, S, S]`, `ord` is neither norm, or `max_lag` is not in
            0..T.

    >>> norms = jacobian_product_norms(jnp.full((1000, 1, 1), 0.5), starts=jnp.array([0]))
    >>> [round(float(x), 2) for x in norms.log[0, jnp.array([0, 1, 1000])]]
    [0.0, -0.69, -693.15]
    """
    _check_square("jacobian_product_norms", jacobians)
    if ord not in ("fro", 2):
        raise ValueError(f"jacobian_product_norms: ord must be 'fro' or 2, got {ord!r}")
    length, size, _ = jacobians.shape
    starts, max_lag = _starts_and_lags("jacobian_product_norms", length, starts, max_lag)

    def body(product, lag):
        product, exponent = product
        product, exponent = rescale(
            jacobians[jnp.minimum(starts + lag - 1, length - 1)] @ product, exponent, batch=1
        )
        return (product, exponent), (_norm(product, ord), exponent)

    identity = jnp.broadcast_to(jnp.eye(size, dtype=jacobians.dtype), (len(starts), size, size))
    first = (identity, jnp.zeros(len(starts), jnp.int32))
    _, (mantissa, exponent) = lax.scan(body, first, jnp.arange(1, max_lag + 1))
    mantissa = jnp.concatenate([_norm(identity, ord)[None], mantissa]).T
    exponent = jnp.concatenate([jnp.zeros_like(first[1])[None], exponent]).T
    inside = starts[:, None] + jnp.arange(max_lag + 1) <= length
    return Scaled(jnp.where(inside, mantissa, jnp.nan), exponent)


def _norm(matrices, ord):
    """Norms of matrices `[R, S, S]` of largest entry near one; Gram is cheaper than an SVD."""
    if ord == "fro":
        return jnp.sqrt(jnp.sum(matrices**2, axis=(1, 2)))
    return jnp.sqrt(jnp.linalg.eigvalsh(jnp.swapaxes(matrices, 1, 2) @ matrices)[:, -1])


class NormProbes(NamedTuple):
    """Estimates of the log-norms of Jacobian products, by start and lag; NaN where j + lag > T."""

    log_norm: jax.Array  # [R, max_lag + 1]  ln || ds_{j+l}/ds_j ||_F
    standard_error: jax.Array  # [R, max_lag + 1]  of log_norm


@settled("xs", starts=steps)
@partial(jax.jit, static_argnames=("cell", "num_probes", "max_lag"))
@full_precision
def jacobian_norm_probes(
    cell,
    params,
    state,
    xs,
    *,
    key,
    num_probes: int,
    starts=None,
    max_lag: int | None = None,
    mask=None,
) -> NormProbes:
    """Estimate the Frobenius norms of the products of Jacobians without forming any.

        || P ||_F^2 = E || P v ||^2,    v of independent random signs

    Each probe is pushed forward through the steps, and keeps an integer exponent. The relative
    error of the norm falls as num_probes^(-1/2). The probes of a start are the same at all lags, so
    that their errors go together along a profile.

    Args:
        cell: the recurrence.
        params: its parameters.
        state: s_0 of one sequence.
        xs: inputs `[T, ...]`.
        key: draws the signs.
        num_probes: number of probes for each start, at least 2.
        starts: indices j `[R]` in 0..T - 1, default all of them.
        max_lag: largest lag, default T.
        mask: bool `[T]`.

    Raises:
        ValueError: fewer than 2 probes, or `max_lag` not in 0..T.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> run = cell, 0.5, jnp.zeros(4), jnp.ones((3, 4))
    >>> probes = jacobian_norm_probes(*run, key=jax.random.key(0), num_probes=2)
    >>> [round(x, 4) for x in jnp.exp(probes.log_norm[0]).tolist()]  # exact for a scaled identity
    [2.0, 1.0, 0.5, 0.25]

    References: Hutchinson (1990).
    """
    if num_probes < 2:
        raise ValueError(f"jacobian_norm_probes: num_probes must be at least 2, got {num_probes}")
    check_one_sequence("jacobian_norm_probes", cell, params, state)
    run = trajectory(cell, params, state, xs, mask)
    length = len(jax.tree.leaves(xs)[0])
    starts, max_lag = _starts_and_lags("jacobian_norm_probes", length, starts, max_lag)
    leaves, tree = jax.tree.flatten(partition(state)[0])
    keys = jax.random.split(key, len(leaves))
    signs = [
        jax.random.rademacher(k, (len(starts), num_probes, *v.shape), v.dtype)
        for k, v in zip(keys, leaves, strict=True)
    ]

    def body(probes, lag):
        probes, exponents = rescale(*probes, batch=1)  # the probes of a start share an exponent
        squares = sum(jnp.sum(v**2, axis=range(2, v.ndim)) for v in jax.tree.leaves(probes))
        mean, deviation = jnp.mean(squares, axis=1), jnp.std(squares, axis=1, ddof=1)
        at = jnp.minimum(starts + lag, length - 1)
        steps = jax.tree.map(lambda x: x[at], run.steps)
        probes = jax.vmap(lambda step, v: jax.vmap(run.pushforward(step))(v))(steps, probes)
        relative = (
            jnp.where(mean > 0, deviation / jnp.where(mean > 0, mean, 1), 0) / num_probes**0.5
        )
        return (probes, exponents), (
            jnp.log(mean) / 2 + exponents * jnp.log(jnp.asarray(2, mean.dtype)),
            relative / 2,
        )

    first = (jax.tree.unflatten(tree, signs), jnp.zeros(len(starts), jnp.int32))
    _, (log_norm, standard_error) = lax.scan(body, first, jnp.arange(max_lag + 1))
    inside = starts[:, None] + jnp.arange(max_lag + 1) <= length
    return NormProbes(*(jnp.where(inside, x.T, jnp.nan) for x in (log_norm, standard_error)))


class SingularValues(NamedTuple):
    """The singular values of a long product, the largest first."""

    values: Scaled  # [S]
    change: jax.Array  # []  largest, of a logarithm in the last sweep; 0 where a plain SVD sufficed
    sweeps: jax.Array  # []


@partial(jax.jit, static_argnames=("tol", "max_sweeps"))
@full_precision
def product_log_singular_values(
    jacobians, *, tol: float = 1e-6, max_sweeps: int = 32
) -> SingularValues:
    """Return all singular values of a product of Jacobians, J_T ... J_1, the largest first.

    A sweep replaces the factors by triangular ones, J_t Q_{t-1} = Q_t R_t, whose product has the
    same singular values; the next one goes over the transposes in reverse. The products of the
    diagonals converge to the singular values, by a factor (sigma_{i+1} / sigma_i)^2 a sweep. The
    sweeps end when no logarithm changes by more than `tol`. A product so short that a plain SVD
    resolves all its singular values to `tol` is given to one, for there neighbours are close and
    the sweeps slow. How many sweeps there are is decided by the values: no reverse-mode derivative.

    Args:
        jacobians: `[T, S, S]`, J_1 to J_T.
        tol: largest change of a natural logarithm between sweeps.
        max_sweeps: number of sweeps after which to stop in any case; look at `change` then.

    Raises:
        ValueError: `jacobians` is not `[T, S, S]`.

    >>> factors = jnp.broadcast_to(jnp.diag(jnp.array([0.5, 2.0])), (1000, 2, 2))
    >>> [round(x, 3) for x in product_log_singular_values(factors).values.log.tolist()]
    [693.147, -693.147]

    References: Bojanczyk, Golub and Van Dooren (1992); Stewart (1997).
    """
    _check_square("product_log_singular_values", jacobians)
    size, dtype = jacobians.shape[1], jacobians.dtype
    nothing = Scaled(jnp.ones(size, dtype), jnp.zeros(size, jnp.int32))

    def sweep(factors):
        def body(carry, factor):
            q, diagonal = carry
            q, r = jnp.linalg.qr(factor @ q)
            diagonal = Scaled(
                *rescale(diagonal.mantissa * jnp.abs(jnp.diagonal(r)), diagonal.exponent, 1)
            )
            return (q, diagonal), r

        (_, diagonal), triangles = lax.scan(body, (jnp.eye(size, dtype=dtype), nothing), factors)
        return jnp.swapaxes(triangles, 1, 2)[::-1], diagonal

    def log(values):
        return jnp.log(values.mantissa) + jnp.log(jnp.asarray(2, dtype)) * values.exponent

    def change(new, old):
        doublings = new.exponent - old.exponent
        ratio = jnp.log(new.mantissa / old.mantissa) + jnp.log(jnp.asarray(2, dtype)) * doublings
        same = (new.mantissa == old.mantissa) & (new.exponent == old.exponent)
        return jnp.max(jnp.where(same, 0, jnp.abs(ratio)))

    def again(carry):
        factors, old, _, count = carry
        factors, new = sweep(factors)
        return factors, new, change(new, old), count + 1

    def sweeps(first):
        unfinished = lambda carry: (carry[2] > tol) & (carry[3] < max_sweeps)
        _, values, last, count = lax.while_loop(
            unfinished, again, (*first, jnp.asarray(jnp.inf, dtype), 1)
        )
        return values, last, count

    def plain(first):
        product = lambda carry, factor: (rescale(factor @ carry[0], carry[1]), None)
        (matrix, exponent), _ = lax.scan(
            product, (jnp.eye(size, dtype=dtype), jnp.zeros((), jnp.int32)), jacobians
        )
        singular = jnp.linalg.svd(matrix, compute_uv=False)
        return Scaled(*rescale(singular, jnp.full(size, exponent), 1)), jnp.zeros((), dtype), 1

    first = sweep(jacobians)
    spread = jnp.max(log(first[1])) - jnp.min(log(first[1]))
    values, last, count = lax.cond(
        spread < jnp.log(tol / jnp.finfo(dtype).eps) - 1, plain, sweeps, first
    )
    order = jnp.argsort(-log(values))
    return SingularValues(jax.tree.map(lambda v: v[order], values), last, jnp.asarray(count))


def _check_square(name, jacobians):
    if jacobians.ndim != 3 or jacobians.shape[1] != jacobians.shape[2]:
        raise ValueError(f"{name}: jacobians must be [T, S, S], got {list(jacobians.shape)}")


def _starts_and_lags(name, length, starts, max_lag):
    max_lag = length if max_lag is None else max_lag
    if not 0 <= max_lag <= length:
        raise ValueError(f"{name}: max_lag must be in 0..T = {length}, got {max_lag}")
    return jnp.arange(length) if starts is None else jnp.asarray(starts), max_lag
