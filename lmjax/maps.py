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


LARGE = 2**20  # so many weights are worth to be read once a step, and as they lie


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


# --- running over time -----------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(maps: Maps, reverse: bool, params: Linear, state, xs, mask):
    """Run the steps over time, t = 1..T; return `(final, states)`.

    The products with x are made before the loop, for all T at once, in the memory that z then takes:

        z_t = x_t W_x + b + h_{t-1} W_h.

    Kept for the way back are the states and the z alone. It computes the gates again, puts dL/dz_t in the place
    of z_t, and carries

        dL/dh_{t-1} = dL/dz_t W_h^T + (what comes through the gates).

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
    flat = lambda a: a.reshape(lanes, -1)

    def room(g):
        """Return memory for z of a group, with the products with x in it."""
        if not _size(g.x):
            return jnp.zeros((length, lanes, _size(g.z)), jnp.promote_types(dtype, jnp.float32))
        return _dot(xs.reshape(length * lanes, -1), params.w_x[:, g.x], dtype).reshape(length, lanes, -1)

    first, zs = jax.tree.map(flat, state), [[room(g) for g in at.groups] for at in columns]
    states = jax.tree.map(lambda s: jnp.zeros((length + 1, *s.shape), s.dtype).at[-1 if reverse else 0].set(s), first)
    arguments = params, states, zs, _lanes(mask, batch)
    states, zs = _by_parts(partial(_forward_loop, maps, reverse), lanes, n, *arguments)
    saved = params, state, xs, mask, lax.stop_gradient((states, zs))
    states = _but_one(states, first=not reverse)
    back = lambda a: a.reshape(*a.shape[:-2], *batch, a.shape[-1])
    return jax.tree.map(back, (_at(states, 0 if reverse else -1), states)), saved


def _forward_loop(maps, reverse, parts, params, states, zs, valid):
    length, n, dtype = len(zs[0][0]), len(params.w_h), params.w_h.dtype
    columns, time = _columns(maps.stages, n), _time(length, reverse)
    times_w = [_times(params.w_h[:, at.h], dtype) for at in columns]

    def body(i, carry):
        (now, states, zs, x), t = carry, time(i)  # x was read a turn ago: in the turn that writes z, that would copy it
        now, zs = list(now), [list(z) for z in zs]
        for p, part in enumerate(parts):
            state, out = now[p], (maps.hidden(now[p]),)
            for k, (stage, at, times) in enumerate(zip(maps.stages, columns, times_w, strict=True)):
                v, *kept = out
                from_x = [params.b[g.z] + (x[p][k][j] if _size(g.x) else 0) for j, g in enumerate(at.groups)]
                blocks = _blocks(at, n, from_x, times(v), -1)
                out, rest = stage.gates(state, *blocks, *kept), iter(blocks)
                for j, g in enumerate(at.groups):
                    for m in range(0, _size(g.z), n):  # one by one: a concatenation would not be vectorised
                        zs[k][j] = _put(zs[k][j], next(rest), t, part.start, m)
            now[p] = out if valid is None else jax.tree.map(partial(select, valid[t, part]), out, state)
            states = jax.tree.map(lambda ss, s, part=part: _put(ss, s, t + (not reverse), part.start), states, now[p])
        return now, states, zs, _parts(zs, time(jnp.minimum(i + 1, length - 1)), parts)

    carry = _parts(states, -1 if reverse else 0, parts), states, zs, _parts(zs, time(0), parts)
    return lax.fori_loop(0, length, body, carry)[1:3]


def _run_backward(maps, reverse, saved, cotangents):
    params, state, xs, mask, kept = saved
    return *_backward(maps, reverse, (params, state, xs), cotangents, mask, kept), None


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _backward(maps, reverse, primals, cotangents, mask, kept):
    """Return dL/d(params, state, xs)."""
    params, state, xs = primals
    length, batch = len(xs), xs.shape[1:-1]
    lanes, n, dtype = math.prod(batch), len(params.w_h), params.w_h.dtype
    states, zs = kept
    wide = jax.tree.leaves(zs)[0].dtype
    ct_final, ct_states = (
        jax.tree.map(lambda a: a.reshape(*lead, lanes, -1), ct) for lead, ct in zip(((), (length,)), cotangents)
    )
    inner = [jnp.zeros((length, lanes, n), wide) for _ in maps.stages[1:]]  # what later stages multiply
    arguments = params, ct_final, ct_states, states, zs, inner, _lanes(mask, batch)
    ct_state, zs, inner = _by_parts(partial(_backward_loop, maps, reverse), lanes, n, *arguments)
    rows = lambda a: a.reshape(length * lanes, -1)
    hs = [maps.hidden(_but_one(states, first=reverse)), *inner]
    d_x, d_h, d_b, ct_xs = [], [], [], jnp.zeros((), wide)
    for at, h, dzs in zip(_columns(maps.stages, n), hs, zs, strict=True):
        for g, dz in zip(at.groups, map(rows, dzs), strict=True):
            d_b.append(dz.sum(0))
            if _size(g.x):
                d_x.append(_dot(rows(xs).T, dz, dtype))
                ct_xs += _dot(dz, params.w_x[:, g.x].T, dtype)
            if _size(g.h):
                d_h.append(_dot(rows(h).T, dz, dtype))
    gradient = Linear(jnp.concatenate(d_x, 1), jnp.concatenate(d_h, 1), jnp.concatenate(d_b))
    like = lambda a, b: a.reshape(b.shape).astype(b.dtype)
    return jax.tree.map(like, (gradient, ct_state, ct_xs), (params, state, xs))


def _backward_loop(maps, reverse, parts, params, ct_final, ct_states, states, zs, inner, valid):
    length, n, dtype = len(zs[0][0]), len(params.w_h), params.w_h.dtype
    columns, time = _columns(maps.stages, n), _time(length, not reverse)
    times_w = [_times(params.w_h[:, at.h].T, dtype) for at in columns]
    wide = zs[0][0].dtype
    room = [[jnp.zeros((_size(part), _size(at.z)), wide) for at in columns] for part in parts]  # for dL/dz of a stage

    def body(i, carry):
        (cts, z, zs, inner, room), t = carry, time(i)
        cts, zs, inner, room = list(cts), [list(z) for z in zs], list(inner), [list(r) for r in room]
        for p, part in enumerate(parts):
            state, direct = (
                jax.tree.map(lambda a: a[at, part], tree) for tree, at in ((states, t + reverse), (ct_states, t))
            )
            ct = _add(cts[p], direct)
            ct_state = jax.tree.map(jnp.zeros_like, ct)
            if valid is not None:
                zero, keep = ct_state, partial(select, valid[t, part])
                ct, ct_state = jax.tree.map(keep, ct, zero), jax.tree.map(keep, zero, ct)
            h, pull_hidden = jax.vjp(maps.hidden, state)
            out, vs, pulls = (h,), [], []
            for stage, groups in zip(maps.stages, z[p], strict=True):
                v, *kept = out
                blocks = [g[:, m : m + n] for g in groups for m in range(0, g.shape[1], n)]
                out, pull = jax.vjp(stage.gates, state, *blocks, *kept)
                vs.append(v)
                pulls.append(pull)
            inner = [_put(a, v.astype(wide), t, part.start) for a, v in zip(inner, vs[1:], strict=True)]
            for k, at in reversed(list(enumerate(columns))):
                ct_gates, *ct_rest = pulls[k](ct)
                ct_state, count = _add(ct_state, ct_gates), _size(at.z) // n
                for m, block in enumerate(ct_rest[:count]):
                    room[p][k] = lax.dynamic_update_slice(room[p][k], block, (0, m * n))
                dz = room[p][k]
                for j, g in enumerate(at.groups):
                    zs[k][j] = _put(zs[k][j], dz[:, _within(g.z, at.z)], t, part.start)
                by_h = dz[:, _size(at.z) - _size(at.h) :]  # the blocks that read h are the last
                ct = (times_w[k](by_h).astype(vs[k].dtype), *ct_rest[count:])
            cts[p] = _add(ct_state, *pull_hidden(ct[0]))
        return cts, _parts(zs, time(jnp.minimum(i + 1, length - 1)), parts), zs, inner, room

    cts = [jax.tree.map(lambda a, part=part: a[part], ct_final) for part in parts]
    cts, _, zs, inner, _ = lax.fori_loop(0, length, body, (cts, _parts(zs, time(0), parts), zs, inner, room))
    return jax.tree.map(lambda *a: jnp.concatenate(a), *cts), zs, inner


@_backward.defjvp
def _backward_jvp(maps, reverse, arguments, tangents):
    mask = arguments[2]

    def plain(primals, cotangents):
        return jax.vjp(lambda *args: scan(maps, reverse, *args, mask), *primals)[1](cotangents)

    return _backward(maps, reverse, *arguments), jax.jvp(plain, arguments[:2], tangents[:2])[1]


run.defvjp(_forward, _run_backward)

_held = lax.optimization_barrier  # laid out once, where XLA would turn operands in every step


def _times(w, dtype):
    """Return the function v -> v W of a step; many weights stand on the left, `LARGE`."""
    if w.size < LARGE:
        w = _held(w)
        return lambda v: _dot(v, w, dtype)
    w = _held(w.T)
    return lambda v: _held(_dot(w, v.T, dtype)).T


def _by_parts(loop, lanes, n, params, *arguments):
    """Run a loop, on a CPU over two halves of the batch: the gates of one then run beside the product of the other."""
    halves = [slice(0, lanes // 2), slice(lanes // 2, lanes)]
    whole = partial(loop, [slice(0, lanes)])
    if lanes < 2 or params.w_h.size >= LARGE:
        return whole(params, *arguments)
    return lax.platform_dependent(params, *arguments, cpu=partial(loop, halves), default=whole)


def _put(a, value, *start):
    """Put values at a place along the leading axes of an array."""
    start += (0,) * (a.ndim - len(start))
    return lax.dynamic_update_slice(a, value.reshape((1,) * (a.ndim - value.ndim) + value.shape), start)


def _parts(tree, t, parts):
    """Return what stands at t, for each part of the batch."""
    return [jax.tree.map(lambda a, part=part: a[t, part], tree) for part in parts]


def _time(length, reverse):
    """Return the function from a loop's turn to the step it makes."""
    return (lambda i: length - 1 - i) if reverse else lambda i: i


def _at(tree, t):
    return jax.tree.map(lambda a: a[t], tree)


def _but_one(states, *, first):
    """Leave out the first or the last of T + 1 states."""
    return jax.tree.map(lambda s: s[1:] if first else s[:-1], states)


def _lanes(mask, batch):
    """Spread a mask `[T]` up to `[T, *batch]` to `[T, B]`."""
    if mask is None:
        return None
    mask = mask.reshape(mask.shape + (1,) * (1 + len(batch) - mask.ndim))
    return jnp.broadcast_to(mask, (len(mask), *batch)).reshape(len(mask), -1)
