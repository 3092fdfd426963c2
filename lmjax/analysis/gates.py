"""How open the gates stand, and how long the memory is that they make."""

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from lmjax.analysis.scaled import Scaled
from lmjax.analysis.trajectory import trajectory
from lmjax.cell import Cell
from lmjax.precision import full_precision

__all__ = [
    "Horizon",
    "Saturation",
    "gate_saturation",
    "gate_values",
    "memory_horizon",
    "time_constants",
]


@partial(jax.jit, static_argnames="cell")
@full_precision
def gate_values(cell: Cell, params, state, xs, *, mask=None) -> dict[str, jax.Array]:
    """Return every gate of a cell at every step, by its name in the lecture's equations.

    Args:
        cell: a cell that names its gates (`Cell.gates`): LSTM i, f, o; GRU z, r and f = 1 - z; a
            `stack` of such cells, whose names then start with the layer: "0.f".
        params: the cell's parameters.
        state: s_0.
        xs: inputs `[T, ...]` or `[T, B, ...]`.
        mask: bool `[T]` or `[T, B]`; at a padded step the gates are not defined, so hand the same
            mask on.

    Returns:
        `{name: [T, ..., n]}`.

    Raises:
        ValueError: the cell, and every layer of it, names no gates.

    >>> from lmjax.cells import lstm
    >>> cell = lstm(3, 4, forget_bias=0.0)
    >>> params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0)))
    >>> gates = gate_values(cell, params, cell.initial_state(params), jnp.ones((5, 3)))
    >>> {name: float(g.mean()) for name, g in gates.items()}
    {'f': 0.5, 'i': 0.5, 'o': 0.5}
    """
    values, _ = _visit("", cell, params, state, xs, mask)
    if not values:
        raise ValueError("gate_values: the cell names no gates (Cell.gates is None)")
    return values


def _visit(prefix, cell, params, state, xs, mask):
    """Return the gates of a cell, or of each layer of a stack, and the outputs."""
    if cell.layers:
        values = {}
        for k, (layer, p, s) in enumerate(zip(cell.layers, params, state, strict=True)):
            found, xs = _visit(f"{prefix}{k}.", layer, p, s, xs, mask)
            values |= found
        return values, xs
    run = trajectory(cell, params, state, xs, mask)
    values = cell.gates(params, run.previous, run.inputs) if cell.gates else {}
    return {prefix + name: value for name, value in values.items()}, cell.read(params, run.states)


class Saturation(NamedTuple):
    """The share of steps at which each unit's gate is nearly shut or nearly open."""

    left: jax.Array  # [n]  values below `low`
    right: jax.Array  # [n]  values above `high`


def gate_saturation(gate, *, low: float = 0.1, high: float = 0.9, mask=None) -> Saturation:
    """Return how often each unit's gate is saturated, over all steps and sequences.

    Args:
        gate: values of one gate `[T, ..., n]`, from `gate_values`.
        low: below it a gate counts as left-saturated (shut).
        high: above it a gate counts as right-saturated (open).
        mask: bool, the leading axes of `gate`; padded steps do not count.

    >>> left, right = gate_saturation(jnp.array([[0.01, 0.5], [0.95, 0.5]]))
    >>> left.tolist(), right.tolist()
    ([0.5, 0.0], [0.5, 0.0])

    References: Karpathy, Johnson and Fei-Fei (2015).
    """
    return Saturation(left=_mean(gate < low, mask), right=_mean(gate > high, mask))


def time_constants(f, *, mask=None) -> jax.Array:
    """Return the time over which each unit's forget gate lets a memory shrink by 1/e.

        prod_t f_t = exp(-T / tau),    tau = -1 / mean_t log f_t

    The product of the gates is what a cell's content is multiplied by (f of an LSTM, 1 - z of a
    GRU), so its geometric mean counts: a gate that closes once forgets.

    Args:
        f: values of a forget gate `[T, ..., n]`, the "f" of `gate_values`.
        mask: bool, the leading axes of `f`; padded steps do not count.

    Returns:
        tau `[n]` in steps; inf for a gate that stays 1, 0 for one that is ever 0.

    >>> time_constants(jnp.full((5, 1), jnp.exp(-0.1))).round(3).tolist()
    [10.0]

    References: Tallec and Ollivier (2018).
    """
    return 1 / jnp.abs(_mean(jnp.log(f), mask))


class Horizon(NamedTuple):
    """How far a norm reaches back."""

    lag: jax.Array  # [...]  first lag at which the norm is under the fraction; inf if it never is
    time_constant: jax.Array  # [...]  -1 / slope of the log-norm; negative where the norm grows


def memory_horizon(log_norms, *, fraction: float = 0.01) -> Horizon:
    """Return the lag at which a norm falls under a fraction of what it is at lag 0, and its rate.

        lag = min { l : norm_l < fraction norm_0 },      log norm_l ~ a - l / tau   (least squares)

    Args:
        log_norms: natural log-norms `[..., lags]`, or the norms as `Scaled`, lag 0 first; NaN where
            there is no such lag, which counts for nothing, and -inf for an exact zero, which is
            under every fraction.
        fraction: between 0 and 1; 0.5 gives the half-life.

    Raises:
        ValueError: `fraction` is not between 0 and 1.

    >>> horizon = memory_horizon(-jnp.arange(20.0) / 4, fraction=0.1)
    >>> float(horizon.lag), round(float(horizon.time_constant), 4)
    (10.0, 4.0)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"memory_horizon: fraction must lie between 0 and 1, got {fraction}")
    log_norms = log_norms.log if isinstance(log_norms, Scaled) else log_norms
    log_norms = jnp.asarray(log_norms, jnp.result_type(float))
    lags = jnp.arange(log_norms.shape[-1], dtype=log_norms.dtype)
    under = log_norms < log_norms[..., :1] + jnp.log(fraction)
    finite = jnp.isfinite(log_norms)
    mean = lambda x: (
        jnp.sum(jnp.where(finite, x, 0), -1, keepdims=True) / jnp.sum(finite, -1, keepdims=True)
    )
    from_mean = lags - mean(lags)
    slope = mean(from_mean * jnp.where(finite, log_norms, 0)) / mean(from_mean**2)
    return Horizon(
        lag=jnp.where(under.any(-1), under.argmax(-1), jnp.inf),
        time_constant=jnp.where(slope == 0, jnp.inf, -1 / slope)[..., 0],
    )


def _mean(x, mask):
    """The mean over all axes but the last, of the valid steps."""
    axes = tuple(range(x.ndim - 1))
    if mask is None:
        return jnp.mean(x, axes, dtype=jnp.result_type(float))
    chex.assert_equal_shape_prefix([x, mask], mask.ndim)
    valid = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return jnp.mean(x, axes, dtype=jnp.result_type(float), where=valid)
