"""Gradient clipping that can be seen: the lecture's norm clipping with a record of what it did."""

from functools import reduce
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

__all__ = ["NORM_EDGES", "ClipState", "clip_by_global_norm"]

# bins of the histogram: half decades, open at both ends
NORM_EDGES = 10.0 ** np.linspace(-6, 6, 25)


class ClipState(NamedTuple):
    """What `clip_by_global_norm` has seen so far."""

    step: jax.Array  # []  updates in all
    clipped: jax.Array  # []  of these, scaled down to max_norm
    nonfinite: jax.Array  # []  of these, with an inf or a NaN in them, replaced by zero
    norm: jax.Array  # []  ||g|| of the last update as it came in
    clipped_norm: jax.Array  # []  ||g|| of the last update as it went out
    histogram: jax.Array  # [26]  finite updates by ||g||: below, between and above NORM_EDGES


def clip_by_global_norm(max_norm: chex.Numeric) -> optax.GradientTransformation:
    """Return the lecture's gradient clipping, safe at every scale, with its statistics as state.

        g <- g max_norm / ||g||   if ||g|| > max_norm

    The norm is taken as ||g|| = m ||g / m|| with m = max |g|, so no square overflows or underflows:
    a finite float32 gradient of 1e20 comes out with norm `max_norm`, and one of 1e-23 has norm
    1e-23. A gradient with an inf or a NaN has no direction to keep: it becomes a zero update and is
    counted.

    It stands where `optax.clip_by_global_norm` would, in `optax.chain` and `optax.MultiSteps`.

    Args:
        max_norm: largest norm that passes unchanged; `jnp.inf` only watches (and zeroes the
            non-finite). One that is traced, as by `optax.inject_hyperparams`, cannot be refused:
            where it is not positive the update is NaN, never a gradient turned round.

    Returns:
        An optax transformation whose state is a `ClipState`.

    Raises:
        ValueError: `max_norm` is not one positive number.

    >>> clip = clip_by_global_norm(1.0)
    >>> g = {"w": jnp.array([3e20, 4e20])}
    >>> update, state = clip.update(g, clip.init(g))
    >>> [round(float(u), 4) for u in update["w"]], int(state.clipped)
    ([0.6, 0.8], 1)

    References: Pascanu, Mikolov and Bengio (2013), algorithm 1.
    """
    known = not isinstance(max_norm, jax.core.Tracer)
    if known and not (np.ndim(max_norm) == 0 and max_norm > 0):
        raise ValueError(f"clip_by_global_norm: max_norm must be positive, got {max_norm}")

    def init(params) -> ClipState:
        count = jnp.zeros((), jnp.int32)
        norm = jnp.zeros((), jnp.result_type(jnp.float32, *map(jnp.real, jax.tree.leaves(params))))
        return ClipState(count, count, count, norm, norm, jnp.zeros(len(NORM_EDGES) + 1, jnp.int32))

    def update(updates, state: ClipState, params=None):
        dtype = state.norm.dtype
        tiny = jnp.finfo(dtype).tiny
        largest = reduce(
            jnp.maximum,
            (jnp.max(jnp.abs(g), initial=0).astype(dtype) for g in jax.tree.leaves(updates)),
            jnp.zeros((), dtype),
        )
        finite = jnp.isfinite(largest)  # NaN if any entry is
        m = jnp.clip(largest, tiny, 1 / tiny)  # both m and 1 / m are normal numbers
        unit = jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, dtype)) / m, updates)
        r = jnp.sqrt(
            sum((jnp.sum(jnp.abs(u) ** 2) for u in jax.tree.leaves(unit)), jnp.zeros((), dtype))
        )
        norm = m * r
        limit = jnp.where(max_norm > 0, max_norm, jnp.nan)
        clip = ~(norm <= limit)

        def clipped(g, u):
            return jnp.where(finite, jnp.where(clip, (u * (limit / r)).astype(g.dtype), g), 0)

        return jax.tree.map(clipped, updates, unit), ClipState(
            step=state.step + 1,
            clipped=state.clipped + (clip & finite),
            nonfinite=state.nonfinite + ~finite,
            norm=norm,
            clipped_norm=jnp.where(finite, jnp.minimum(norm, limit), 0).astype(dtype),
            histogram=state.histogram.at[jnp.searchsorted(NORM_EDGES.astype(dtype), norm)].add(
                finite.astype(jnp.int32)
            ),
        )

    return optax.GradientTransformation(init, update)
