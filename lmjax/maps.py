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
    """Where blocks lie; a slice is empty where they do not read that."""

    x: slice  # in w_x
    h: slice  # in w_h
    z: slice  # in b
    groups: tuple[_Columns, ...] = ()  # of a stage: blocks that read the same


def _columns(stages, n) -> list[_Columns]:
    """Return those of each stage."""
    columns, x, h, z = [], 0, 0, 0
    for s in stages:
        begin, groups = (x, h, z), []
        for size, by_x, by_h in ((s.x, 1, 0), (s.both, 1, 1), (s.h, 0, 1)):
            edges = (x, x + size * by_x), (h, h + size * by_h), (z, z + size)
            (_, x), (_, h), (_, z) = edges
            if size:
                groups.append(_columns_of(n, edges))
        columns.append(_columns_of(n, zip(begin, (x, h, z), strict=True))._replace(groups=tuple(groups)))
    return columns


def _columns_of(n, edges) -> _Columns:
    x, h, z = (slice(n * i, n * j) for i, j in edges)
    return _Columns(x, h, z)


def _size(where: slice) -> int:
    return where.stop - where.start


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _blocks(at: _Columns, n, from_x, from_h, axis):
    """Return the blocks z of a stage: to what `from_x` has of each group, x W_x + b, its part of h W_h is added."""
    take = lambda a, where: lax.slice_in_dim(a, where.start, where.stop, axis=axis)
    blocks = []
    for g, z in zip(at.groups, from_x, strict=True):
        z = z + take(from_h, _within(g.h, at.h)) if _size(g.h) else z
        blocks += [take(z, slice(j, j + n)) for j in range(0, _size(g.z), n)]
    return blocks


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
    groups = [g for at in _columns(maps.stages, len(params.w_h)) for g in at.groups]
    return _dot(xs, params.w_x, params.w_x.dtype) + jnp.concatenate([params.b[g.z] for g in groups if _size(g.x)])


def step(maps: Maps, params: Linear, state, x):
    """Run the stages on one encoded input."""
    n = len(params.w_h)
    out: tuple = (maps.hidden(state),)
    for stage, at in zip(maps.stages, _columns(maps.stages, n), strict=True):
        v, *kept = out
        from_x = [x[..., g.x] if _size(g.x) else params.b[g.z] for g in at.groups]
        from_h = _dot(v, params.w_h[:, at.h], params.w_h.dtype)
        out = stage.gates(state, *_blocks(at, n, from_x, from_h, -1), *kept)
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

    The vectors of all B sequences are the columns of a matrix `[n, B]` within a step, and the products there
    have their weights, row-major, on the left: z_t = W_x^T x_t + W_h^T h_{t-1} + b. From `AHEAD` weights on
    those with x are made before the loop, for all T at once, in the memory that z then takes; below that they
    cost less inside it, where the next step's do not wait for this one's gates. Kept for the way back are the
    states and the z alone.

    The way back computes the gates again, puts dL/dz_t as rows `[B, k n]` in the place of z_t, and carries

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
    columns, time, valid = _columns(maps.stages, n), _time(length, reverse), _lanes(mask, batch)
    w_x, w_h = _held(([params.w_x[:, at.x].T for at in columns], [params.w_h[:, at.h].T for at in columns]))
    xs_lanes, ahead = xs.reshape(length, lanes, -1), params.w_x.size >= AHEAD

    def room(g):
        """Return memory for z of a group `[T, k n B]`, with the products with x in it if they are made ahead."""
        if not (ahead and _size(g.x)):
            return jnp.zeros((length, _size(g.z) * lanes), jnp.promote_types(dtype, jnp.float32))
        products = _dot(xs_lanes.reshape(length * lanes, -1), params.w_x[:, g.x], dtype)
        return products.reshape(length, lanes, -1).swapaxes(1, 2).reshape(length, -1)

    def coming(zs, i):
        """Return x W_x of a turn by stage. Asked for a turn before: reading z in the turn that writes it copies it."""
        t = time(jnp.minimum(i, length - 1))
        if ahead:
            return [[z.reshape(-1, lanes) for z in z_t] for z_t in _at(zs, t)]
        return [_dot(u, _at(xs_lanes, t).T, dtype) for u in w_x]

    def body(i, carry):
        (state, states, zs, products), t = carry, time(i)
        out, zs = (_by_column(maps.hidden)(state),), [list(z) for z in zs]
        for k, (stage, at, w) in enumerate(zip(maps.stages, columns, w_h, strict=True)):
            v, *kept = out
            x = products[k] if ahead else [products[k][_within(g.x, at.x)] for g in at.groups]
            from_x = [params.b[g.z, None] + (x[j] if _size(g.x) else 0) for j, g in enumerate(at.groups)]
            blocks = _blocks(at, n, from_x, _dot(w, v, dtype), 0)
            out, rest = _by_column(stage.gates)(state, *blocks, *kept), iter(blocks)
            for j, g in enumerate(at.groups):
                for m in range(0, _size(g.z), n):  # one by one: a concatenation would not be vectorised
                    zs[k][j] = lax.dynamic_update_slice(zs[k][j], next(rest).reshape(1, -1), (t, m * lanes))
        new = out if valid is None else jax.tree.map(partial(jnp.where, valid[t]), out, state)
        states = jax.tree.map(lambda ss, s: ss.at[t + (not reverse)].set(s), states, new)
        return new, states, zs, coming(zs, i + 1)

    first, zs = _to_columns(state, batch), [[room(g) for g in at.groups] for at in columns]
    states = jax.tree.map(lambda s: jnp.zeros((length + 1, *s.shape), s.dtype).at[-1 if reverse else 0].set(s), first)
    final, states, zs, _ = lax.fori_loop(0, length, body, (first, states, zs, coming(zs, 0)))
    saved = params, state, xs, mask, lax.stop_gradient((states, zs))
    return _from_columns((final, _but_one(states, first=not reverse)), batch), saved


def _run_backward(maps, reverse, saved, cotangents):
    params, state, xs, mask, kept = saved
    return *_backward(maps, reverse, (params, state, xs), cotangents, mask, kept), None


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _backward(maps, reverse, primals, cotangents, mask, kept):
    """Return dL/d(params, state, xs)."""
    params, state, xs = primals
    length, batch = len(xs), xs.shape[1:-1]
    lanes, n, dtype = math.prod(batch), len(params.w_h), params.w_h.dtype
    columns, time, valid = _columns(maps.stages, n), _time(length, not reverse), _lanes(mask, batch)
    states, zs = kept
    ct_final, ct_states = _to_columns(cotangents[0], batch), cotangents[1]
    ct_states, zs = jax.tree.map(lambda a: a.reshape(length, lanes, -1), (ct_states, zs))
    wide = jax.tree.leaves(zs)[0].dtype
    inner = [jnp.zeros((length, n, lanes), wide) for _ in maps.stages[1:]]  # what later stages multiply
    room = [jnp.zeros((_size(at.z), lanes), wide) for at in columns]  # for dL/dz of a stage

    def body(i, carry):
        (ct, z_t, zs, inner, room), t = carry, time(i)  # z_t was read a turn ago, see `coming`
        state, zs, room = _at(states, t + reverse), [list(z) for z in zs], list(room)
        ct = jax.tree.map(lambda c, direct: c + direct.T, ct, _at(ct_states, t))
        ct_state = jax.tree.map(jnp.zeros_like, ct)
        if valid is not None:
            zero, ct_state = ct_state, jax.tree.map(partial(jnp.where, valid[t]), ct_state, ct)
            ct = jax.tree.map(partial(jnp.where, valid[t]), ct, zero)
        h, pull_hidden = jax.vjp(_by_column(maps.hidden), state)
        out, vs, pulls = (h,), [], []
        for stage, groups in zip(maps.stages, z_t, strict=True):
            v, *kept = out
            blocks = [block for z in groups for block in z.reshape(-1, n, lanes)]
            out, pull = jax.vjp(_by_column(stage.gates), state, *blocks, *kept)
            vs.append(v)
            pulls.append(pull)
        inner = [all_v.at[t].set(v.astype(wide)) for all_v, v in zip(inner, vs[1:], strict=True)]
        for k, at in reversed(list(enumerate(columns))):
            ct_gates, *cts = pulls[k](ct)
            ct_state, blocks = _add(ct_state, ct_gates), _size(at.z) // n
            for m, block in enumerate(cts[:blocks]):
                room[k] = lax.dynamic_update_slice(room[k], block, (m * n, 0))
            dz = _held(room[k].T)
            for j, g in enumerate(at.groups):
                zs[k][j] = zs[k][j].at[t].set(dz[:, _within(g.z, at.z)])
            by_h = dz[:, _size(at.z) - _size(at.h) :]  # the blocks that read h are the last
            ct = (_dot(params.w_h[:, at.h], by_h.T, dtype).astype(vs[k].dtype), *cts[blocks:])
        return _add(ct_state, *pull_hidden(ct[0])), _at(zs, time(jnp.minimum(i + 1, length - 1))), zs, inner, room

    carry = ct_final, _at(zs, time(0)), zs, inner, room
    ct_state, _, zs, inner, _ = lax.fori_loop(0, length, body, carry)
    rows = lambda a: a.reshape(length * lanes, -1)
    hs = [jax.vmap(_by_column(maps.hidden))(_but_one(states, first=reverse)), *inner]
    d_x, d_h, d_b, ct_xs = [], [], [], jnp.zeros((), wide)
    for at, h, dzs in zip(columns, hs, zs, strict=True):
        for g, dz in zip(at.groups, map(rows, dzs), strict=True):
            d_b.append(dz.sum(0))
            if _size(g.x):
                d_x.append(_dot(rows(xs).T, dz, dtype))
                ct_xs += _dot(dz, params.w_x[:, g.x].T, dtype)
            if _size(g.h):
                d_h.append(_dot(rows(h.swapaxes(1, 2)).T, dz, dtype))
    gradient = Linear(jnp.concatenate(d_x, 1), jnp.concatenate(d_h, 1), jnp.concatenate(d_b))
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


def _time(length, reverse):
    """Return the function from a loop's turn to the step it makes."""
    return (lambda i: length - 1 - i) if reverse else lambda i: i


def _at(tree, t):
    return jax.tree.map(lambda a: a[t], tree)


def _but_one(states, *, first):
    """Leave out the first or the last of T + 1 states."""
    return jax.tree.map(lambda s: s[1:] if first else s[:-1], states)


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
