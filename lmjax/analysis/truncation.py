"""Truncated backpropagation through time: how far its gradient is from the whole one."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.analysis.arguments import counts, settled
from lmjax.analysis.trajectory import direct_gradients, trajectory
from lmjax.precision import full_precision
from lmjax.tree import combine, partition

__all__ = ["TruncationBias", "truncation_bias"]


class TruncationBias(NamedTuple):
    """The truncated gradient g_k beside the whole gradient G, over all parameters; each `[K]`."""

    ks: jax.Array
    relative_bias: jax.Array  # ||g_k - G|| / ||G||
    cosine: jax.Array  # <g_k, G> / ||g_k|| ||G||
    norm_ratio: jax.Array  # ||g_k|| / ||G||


@settled("xs", ks=counts)
@partial(jax.jit, static_argnames=("cell", "loss", "ks", "mode"))
@full_precision
def truncation_bias(
    cell, params, state, xs, loss, ys, ks, *, mode: str = "sliding", mask=None
) -> TruncationBias:
    """Return the bias of truncated backpropagation through time, by the steps k it goes back.

        sliding:   every loss l_i reaches back to step i - k + 1
        chunked:   every loss reaches back to the start of its chunk of k steps, as training on
                   consecutive chunks with a carried state does

    The bias need not fall with k: where gradients explode it is large until k reaches T.

    Args:
        cell: the recurrence.
        params: its parameters.
        state: s_0.
        xs: inputs `[T, ...]` or `[T, B, ...]`.
        loss: `params, s_t, y_t -> l_t`, of one step; what it returns is summed. Static under jit.
        ys: targets of the loss, every leaf `[T, ...]`.
        ks: numbers of steps, or one; T and above give the whole gradient.
        mode: "sliding" or "chunked".
        mask: bool `[T]` or `[T, B]`.

    Returns:
        `TruncationBias`; NaN where the whole gradient is zero.

    Raises:
        ValueError: `mode` is neither, or a k is below 1.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> last, weights = lambda a, h, w: w * h, jnp.array([0.0, 0.0, 0.0, 1.0])
    >>> run = cell, 0.5, jnp.zeros(()), jnp.ones(4), last, weights
    >>> ratio = truncation_bias(*run, ks=(1, 2, 4)).norm_ratio   # 1.75, + 0.5 1.5, + 0.25 1.0
    >>> [round(x, 3) for x in ratio.tolist()]
    [0.636, 0.909, 1.0]

    References: Williams and Peng (1990); Aicher, Foti and Fox (2019).
    """
    if mode not in ("sliding", "chunked"):
        raise ValueError(f"truncation_bias: mode must be 'sliding' or 'chunked', got {mode!r}")
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    length = len(losses)
    back = _sliding if mode == "sliding" else _chunked
    truncated, whole = (
        back(run, direct, [min(k, length) for k in ks]),
        _chunked(run, direct, [length]),
    )
    cts = jax.tree.map(lambda *parts: jnp.concatenate(parts), truncated, whole)  # [K + 1, T, ...]
    theta, theta_int = partition(params)

    def run_and_read(theta):
        params = combine(theta, theta_int)
        inputs = cell.encode(params, xs)
        made = lambda *at_t: partition(run.step(params, *at_t))[0]
        states = jax.vmap(made)(run.previous, inputs, run.mask)
        return states, direct_gradients(loss, params, run.states, ys, mask)[0]

    _, pull = jax.vjp(run_and_read, theta)
    gradients = lax.map(lambda ct: pull((ct, jnp.ones_like(losses)))[0], cts)
    flat = jnp.concatenate([g.reshape(len(ks) + 1, -1) for g in jax.tree.leaves(gradients)], axis=1)
    flat = flat / jnp.max(jnp.abs(flat[-1]))  # ratios alone are wanted; squares must not overflow
    truncated, whole = flat[:-1], flat[-1]
    norm, truncated_norm = jnp.linalg.norm(whole), jnp.linalg.norm(truncated, axis=1)
    return TruncationBias(
        ks=jnp.asarray(ks),
        relative_bias=jnp.linalg.norm(truncated - whole, axis=1) / norm,
        cosine=truncated @ whole / (truncated_norm * norm),
        norm_ratio=truncated_norm / norm,
    )


def _sliding(run, direct, limits):
    """dL/ds_t through the losses t..t + k - 1: a ring of gradients, one a loss, summed by lag."""
    size = max(limits)

    def body(ring, at_t):
        t, step, direct = at_t
        ring = jax.tree.map(lambda g, d: g.at[t % size].set(d), ring, direct)
        lag = (jnp.arange(size) - t) % size
        part = (lag < jnp.asarray(limits)[:, None]).astype
        cts = jax.tree.map(lambda g: jnp.tensordot(part(g.dtype), g, 1), ring)
        return jax.vmap(lambda ct: run.pullback(step)(ct)[1])(ring), cts

    ring = jax.tree.map(lambda d: jnp.zeros((size, *d.shape[1:]), d.dtype), direct)
    return _scan_back(body, ring, run, direct)


def _chunked(run, direct, limits):
    """dL/ds_t through the losses from t to the end of its chunk: none comes over a boundary."""

    def body(cts, at_t):
        t, step, direct = at_t
        inside = (t + 1) % jnp.asarray(limits) != 0
        cts = jax.tree.map(
            lambda g, d: jnp.where(inside.reshape(-1, *[1] * d.ndim), g, 0) + d, cts, direct
        )
        return jax.vmap(lambda ct: run.pullback(step)(ct)[1])(cts), cts

    cts = jax.tree.map(lambda d: jnp.zeros((len(limits), *d.shape[1:]), d.dtype), direct)
    return _scan_back(body, cts, run, direct)


def _scan_back(body, first, run, direct):
    length = len(jax.tree.leaves(direct)[0])
    _, cts = lax.scan(body, first, (jnp.arange(length), run.steps, direct), reverse=True)
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), cts)
