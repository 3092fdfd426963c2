"""Steps made of linear maps and gates, and the fast way to run them over time.

A cell that declares its maps leaves the products to this file, which does three things that a compiler
given the step alone does not: it lays the products out as they run fastest, leaves the gradient of the
weights to the end, and lets the backward pass overwrite what it has read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["Linear", "Maps", "Stage", "encode", "run", "scan", "select", "step"]


AHEAD = 2**20  # so many weights w_x no longer stay in a cache between two steps


class Linear(NamedTuple):
    """Parameters of the linear maps of a cell, blocks of n side by side."""

    w_x: jax.Array  # [n_in, k_x n]  of the blocks that read x
    w_h: jax.Array  # [n, k_h n]  of the blocks that read h
    b: jax.Array  # [k n]  of all


class Stage(NamedTuple):
    """Blocks z of n, and the gates that take them.

        x W_x + b  (`x` of them),    x W_x + h W_h + b  (`both`),    h W_h + b  (`h`)

    That is their order. The last, or only, stage returns the new state, `gates(state, *blocks, *kept)`; an
    earlier one `(v, *kept)`: v stands in the place of h in the products of the next stage, to whose gates
    the kept values go.
    """

    gates: Callable
    both: int
    x: int = 0
    h: int = 0


class Maps(NamedTuple):
    """A step as stages, the first of which multiplies h = hidden(state); its parameters are `Linear`.

    In `w_x`, `w_h` and `b` the blocks lie stage by stage, as the gates take them.
    """

    stages: tuple[Stage, ...]
    hidden: Callable = lambda state: state


class _Columns(NamedTuple):
    """Where the blocks of a stage lie."""

    x: slice  # in w_x
    h: slice  # in w_h
    z: slice  # in b: all,
    z_x: slice  # those that read x,
    z_h: slice  # those that read h,
    only_h: slice  # those that read h alone


def _columns(stages, n) -> list[_Columns]:
    x = h = z = 0
    columns = []
    for s in stages:
        by_x, by_h, end = s.x + s.both, s.both + s.h, s.x + s.both + s.h
        edges = (x, x + by_x), (h, h + by_h), (z, z + end), (z, z + by_x), (z + s.x, z + end), (z + by_x, z + end)
        columns.append(_Columns(*(slice(n * i, n * j) for i, j in edges)))
        x, h, z = x + by_x, h + by_h, z + end
    return columns


def _blocks(stage, n, from_x, from_h, b, axis):
    """Return the blocks z of a stage from x W_x + b, h W_h and the b of those that read h alone."""
    parts = lambda z: [lax.slice_in_dim(z, i, i + n, axis=axis) for i in range(0, z.shape[axis], n)]
    x, h = parts(from_x), parts(from_h)
    return [*x[: stage.x], *map(jnp.add, x[stage.x :], h), *map(jnp.add, h[stage.both :], parts(b))]


def _dot(a, b, dtype):
    """Multiply in a precision, and add up in float32 at least."""
    return jnp.matmul(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.promote_types(dtype, jnp.float32))


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def select(valid, x, y):
    """Return x where `valid` and y elsewhere, along the leading axes that `valid` has."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (jnp.ndim(x) - valid.ndim)), x, y)


def encode(maps: Maps, params: Linear, xs):
    """Return x W_x + b of every block that reads x, `[..., k_x n]`."""
    b = [params.b[at.z_x] for at in _columns(maps.stages, len(params.w_h))]
    return _dot(xs, params.w_x, params.w_x.dtype) + jnp.concatenate(b)


def step(maps: Maps, params: Linear, state, x):
    """Run the stages on one encoded input."""
    n = len(params.w_h)
    out: tuple = (maps.hidden(state),)
    for stage, at in zip(maps.stages, _columns(maps.stages, n), strict=True):
        v, *kept = out
        from_h = _dot(v, params.w_h[:, at.h], params.w_h.dtype)
        out = stage.gates(state, *_blocks(stage, n, x[..., at.x], from_h, params.b[at.only_h], -1), *kept)
    return out


def scan(maps: Maps, reverse, params: Linear, state, xs, mask):
    """Return what `run` does, differentiated by JAX alone."""

    def body(state, at_t):
        x, valid = at_t
        new = step(maps, params, state, x)
        new = new if valid is None else jax.tree.map(partial(select, valid), new, state)
        return new, new

    return lax.scan(body, state, (encode(maps, params, xs), mask), reverse=reverse)


# --- feature-major: every vector is a column -------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(maps: Maps, reverse: bool, params: Linear, state, xs, mask):
    """Run the steps over time, t = 1..T; return `(final, states)`.

    The vectors of all B sequences are the columns of a matrix `[n, B]`, and every product has its
    weights, row-major, on the left: z_t = W_x^T x_t + W_h^T h_{t-1} + b. From `AHEAD` weights on the
    products with x are made before the loop, for all T at once; below that they cost less inside it. Kept
    for the way back are the states and the z alone.

    The way back computes the gates again, puts dL/dz_t in the place of z_t, and carries

        dL/dh_{t-1} = W_h dL/dz_t + (what comes through the gates).

    The gradients of weights, biases and inputs are then one product each over all T. The derivative of
    this way back is that of `scan`'s.

    Args:
        maps: the declaration.
        reverse: from t = T down to 1.
        params: the weights.
        state: s_0, leaves `[*batch, n]`.
        xs: `[T, *batch, n_in]`, not encoded; T at least 1.
        mask: bool `[T]` up to `[T, *batch]`, or None.
    """
    return _forward(maps, reverse, params, state, xs, mask)[0]


def _forward(maps, reverse, params, state, xs, mask):
    length, batch = len(xs), xs.shape[1:-1]
    lanes, n, dtype = math.prod(batch), len(params.w_h), params.w_h.dtype
    columns = _columns(maps.stages, n)
    w_x, w_h = _held(([params.w_x[:, at.x].T for at in columns], [params.w_h[:, at.h].T for at in columns]))
    z = jnp.zeros((length, len(params.b), lanes), jnp.promote_types(dtype, jnp.float32))
    xs_lanes, coming = xs.reshape(length, lanes, -1), lambda t: None
    ahead = params.w_x.size >= AHEAD
    if ahead:
        products = _dot(xs_lanes.reshape(length * lanes, -1), params.w_x, dtype)
        products = _held(products.reshape(length, lanes, -1).swapaxes(1, 2))
        coming = lambda t: lax.dynamic_index_in_dim(products, t, 0, keepdims=False)

    def body(carry, at_t):
        (state, product, z), (t, x, valid) = carry, at_t
        out = (_by_column(maps.hidden)(state),)
        for stage, at, u, w in zip(maps.stages, columns, w_x, w_h, strict=True):
            v, *kept = out
            from_x = (product[at.x] if ahead else _dot(u, x.T, dtype)) + params.b[at.z_x, None]
            blocks = _blocks(stage, n, from_x, _dot(w, v, dtype), params.b[at.only_h, None], 0)
            z = _write(z, blocks, t, at.z.start)
            out = _by_column(stage.gates)(state, *blocks, *kept)
        new = out if valid is None else jax.tree.map(partial(jnp.where, valid), out, state)
        return (new, coming(jnp.maximum(t - 1, 0) if reverse else jnp.minimum(t + 1, length - 1)), z), new

    at_t = jnp.arange(length), xs_lanes, _lanes(mask, batch)
    first = _to_columns(state, batch), coming(length - 1 if reverse else 0), z
    (final, _, z), states = lax.scan(body, first, at_t, reverse=reverse)
    saved = params, state, xs, mask, lax.stop_gradient((states, z))
    return _from_columns((final, states), batch), saved


def _run_backward(maps, reverse, saved, cotangents):
    params, state, xs, mask, kept = saved
    return *_backward(maps, reverse, (params, state, xs), cotangents, mask, kept), None


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _backward(maps, reverse, primals, cotangents, mask, kept):
    """Return dL/d(params, state, xs)."""
    params, state, xs = primals
    length, batch = len(xs), xs.shape[1:-1]
    lanes, n, dtype = math.prod(batch), len(params.w_h), params.w_h.dtype
    columns = _columns(maps.stages, n)
    (states, z), mask = kept, _lanes(mask, batch)
    ct_final, ct_states = _to_columns(cotangents, batch)
    previous = jax.tree.map(
        lambda s, ss: jnp.concatenate([ss[1:], s[None]] if reverse else [s[None], ss[:-1]]),
        _to_columns(state, batch),
        states,
    )
    inner = [jnp.zeros((length, n, lanes), z.dtype) for _ in maps.stages[1:]]  # what later stages multiply
    time = (lambda i: i) if reverse else (lambda i: length - 1 - i)

    def body(i, carry):
        ct, z_t, z, inner = carry  # z_t was read a step ago: to read z and write to it in one step copies all of z
        t = time(i)
        at_t = lambda tree: jax.tree.map(lambda a: a[t], tree)
        state, ct = at_t(previous), _add(ct, at_t(ct_states))
        ct_state = jax.tree.map(jnp.zeros_like, ct)
        if mask is not None:
            zero, ct_state = ct_state, jax.tree.map(partial(jnp.where, mask[t]), ct_state, ct)
            ct = jax.tree.map(partial(jnp.where, mask[t]), ct, zero)
        h, pull_hidden = jax.vjp(_by_column(maps.hidden), state)
        out, vs, pulls = (h,), [], []
        for stage, at in zip(maps.stages, columns, strict=True):
            v, *kept = out
            blocks = [z_t[j : j + n] for j in range(at.z.start, at.z.stop, n)]
            out, pull = jax.vjp(_by_column(stage.gates), state, *blocks, *kept)
            vs.append(v)
            pulls.append(pull)
        inner = [all_v.at[t].set(v.astype(z.dtype)) for all_v, v in zip(inner, vs[1:], strict=True)]
        for at, v, pull in reversed(list(zip(columns, vs, pulls, strict=True))):
            ct_gates, *cts = pull(ct)
            k = (at.z.stop - at.z.start) // n
            ct_state, z = _add(ct_state, ct_gates), _write(z, cts[:k], t, at.z.start)
            dz = lax.dynamic_slice(z, (t, at.z_h.start, 0), (1, at.z_h.stop - at.z_h.start, lanes))[0]
            ct = (_dot(params.w_h[:, at.h], dz, dtype).astype(v.dtype), *cts[k:])
        return _add(ct_state, *pull_hidden(ct[0])), z[time(jnp.minimum(i + 1, length - 1))], z, inner

    ct_state, _, dz, inner = lax.fori_loop(0, length, body, (ct_final, z[time(0)], z, inner))
    rows = lambda a: _held(a.swapaxes(1, 2).reshape(length * lanes, -1))  # [T, m, B] -> [T B, m]
    dz, x = rows(dz), _held(xs.reshape(length * lanes, -1).T)
    hs = [jax.vmap(_by_column(maps.hidden))(previous), *inner]
    hs = [_held(h.swapaxes(0, 1).reshape(n, -1)) for h in hs]
    d_x = [_dot(x, dz[:, at.z_x], dtype) for at in columns]
    d_h = [_dot(h, dz[:, at.z_h], dtype) for h, at in zip(hs, columns, strict=True)]
    ct_xs = sum(_dot(dz[:, at.z_x], _held(params.w_x[:, at.x].T), dtype) for at in columns)
    gradient = Linear(jnp.concatenate(d_x, 1), jnp.concatenate(d_h, 1), dz.sum(0))
    like = lambda a, b: a.reshape(b.shape).astype(b.dtype)
    return jax.tree.map(like, (gradient, _from_columns(ct_state, batch), ct_xs), (params, state, xs))


@_backward.defjvp
def _backward_jvp(maps, reverse, arguments, tangents):
    mask = arguments[2]

    def plain(primals, cotangents):
        return jax.vjp(lambda *args: scan(maps, reverse, *args, mask), *primals)[1](cotangents)

    return _backward(maps, reverse, *arguments), jax.jvp(plain, arguments[:2], tangents[:2])[1]


run.defvjp(_forward, _run_backward)

_held = lax.optimization_barrier  # laid out once, before the loop, where XLA would turn operands in every step


def _by_column(f):
    """Apply a function of vectors to every column."""
    return jax.vmap(f, in_axes=-1, out_axes=-1)


def _write(z, blocks, t, start):
    """Put blocks `[n, B]` below each other in z[t], each by itself: a concatenation would not be vectorised."""
    for i, block in enumerate(blocks):
        z = lax.dynamic_update_slice(z, block[None], (t, start + i * len(block), 0))
    return z


def _to_columns(tree, batch):
    """Turn leaves `[..., *batch, n]` into `[..., n, B]`."""
    lead = lambda a: a.shape[: a.ndim - 1 - len(batch)]
    return jax.tree.map(lambda a: a.reshape(*lead(a), math.prod(batch), a.shape[-1]).swapaxes(-1, -2), tree)


def _from_columns(tree, batch):
    """Turn leaves `[..., n, B]` into `[..., *batch, n]`."""
    return jax.tree.map(lambda a: a.swapaxes(-1, -2).reshape(*a.shape[:-2], *batch, a.shape[-2]), tree)


def _lanes(mask, batch):
    """Spread a mask `[T]` up to `[T, *batch]` to `[T, B]`."""
    if mask is None:
        return None
    mask = mask.reshape(mask.shape + (1,) * (1 + len(batch) - mask.ndim))
    return jnp.broadcast_to(mask, (len(mask), *batch)).reshape(len(mask), -1)
