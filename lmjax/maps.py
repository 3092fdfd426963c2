"""Steps made of linear maps and gates, and the fast way to run them over time.

A cell that declares its maps leaves the products to this file, which does three things that a compiler
given the step alone does not: it lays the products out as they run fastest, leaves the gradient of the
weights to the end, and lets the backward pass overwrite what it has read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from itertools import accumulate, pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = [
    "Linear",
    "Maps",
    "Stage",
    "beside",
    "by_parts",
    "encode",
    "join",
    "of_parts",
    "run",
    "scan",
    "select",
    "step",
    "times",
]


FEW = 2**20  # fewer weights w_h than that may be read twice a step, each time for half a batch,
MANY = 2**22  # and so many are worth a copy that lies as the product on the way forward reads it
BLOCK = 2**16  # weights are what XLA's CPU backend takes at once: products of one block wait for each other


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
    """Where the blocks of a stage lie; z has those that read x first, those that read h last."""

    x: slice  # in w_x
    h: slice  # in w_h
    z: slice  # in b


def _columns(stages, n) -> list[_Columns]:
    """Return those of each stage."""
    sizes = [(s.x + s.both, s.both + s.h, s.x + s.both + s.h) for s in stages]
    ends = [list(accumulate(of_all, initial=0)) for of_all in zip(*sizes, strict=True)]
    return [_Columns(*(slice(n * e[k], n * e[k + 1]) for e in ends)) for k in range(len(stages))]


def _size(where: slice) -> int:
    return where.stop - where.start


def _pieces(at: _Columns) -> list[slice]:
    """Part the columns of z: what reads x and what does not, if there is any."""
    return [p for p in (slice(0, _size(at.x)), slice(_size(at.x), _size(at.z))) if _size(p)]


def _sums(at: _Columns, b, x, h):
    """Return z in up to three parts, given x W_x and h W_h: the blocks that read x alone, both, h alone."""
    x_end, h_begin, parts = _size(at.x), _size(at.z) - _size(at.h), []
    for begin, end in pairwise(sorted({0, h_begin, x_end, _size(at.z)})):
        z = b[at.z.start + begin : at.z.start + end]
        z = z + x[..., begin:end] if end <= x_end else z
        parts.append(z + h[..., begin - h_begin : end - h_begin] if begin >= h_begin else z)
    return parts


def _blocks(parts, n):
    return [z[..., m : m + n] for z in parts for m in range(0, z.shape[-1], n)]


def _dot(a, b, dtype):
    """Multiply in a precision, and add up in float32 at least."""
    return jnp.matmul(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.promote_types(dtype, jnp.float32))


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def join(some, others):
    """Fill the places of a pytree that hold None with what others hold there."""
    return jax.tree.map(lambda s, o: o if s is None else s, some, others, is_leaf=lambda s: s is None)


def select(valid, x, y):
    """Return x where `valid` and y elsewhere, along the leading axes that `valid` has."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (jnp.ndim(x) - valid.ndim)), x, y)


def encode(maps: Maps, params: Linear, xs):
    """Return x W_x, `[..., k_x n]`."""
    return _dot(xs, params.w_x, params.w_x.dtype)


def step(maps: Maps, params: Linear, state, x):
    """Run the stages on one encoded input."""
    columns, dtype = _columns(maps.stages, len(params.w_h)), params.w_h.dtype
    products = [lambda v, w=params.w_h[:, at.h]: _dot(v, w, dtype) for at in columns]
    return _step(maps, products, params, state, [x[..., at.x] for at in columns])[0]


def _step(maps, products, params, state, xs):
    """Return the new state and the parts of z by stage, given each stage's v -> v W_h and its x W_x."""
    out, zs, n = (maps.hidden(state),), [], len(params.w_h)
    for stage, at, times_w, x in zip(maps.stages, _columns(maps.stages, n), products, xs, strict=True):
        v, *kept = out
        zs.append(_sums(at, params.b, x, times_w(v)))
        out = stage.gates(state, *_blocks(zs[-1], n), *kept)
    return out, zs


def scan(maps: Maps, reverse, params: Linear, state, xs, mask):
    """Return what `run` does, differentiated by JAX alone."""

    def body(state, at_t):
        x, valid = at_t
        new = step(maps, params, state, x)
        new = new if valid is None else jax.tree.map(partial(select, valid), new, state)
        return new, new

    return lax.scan(body, state, (encode(maps, params, xs), mask), reverse=reverse)


# --- running over time -----------------------------------------------------------------------------


def run(maps: Maps, reverse: bool, params: Linear, state, xs, mask):
    """Run the steps over time, t = 1..T; return `(final, states)`.

    The products with x are made before the loop, for all T at once, in the memory that z then takes:

        z_t = x_t W_x + b + h_{t-1} W_h.

    On a CPU the loop runs two halves of the batch side by side where the weights are few, so that the gates of one
    are computed beside the product of the other; each has arrays of its own, or one would wait until the other has
    put its part. Where weights are very many, they stand on the left of the product, see `times`.

    Kept for the way back are the states and the z alone. It computes the gates again, puts dL/dz_t in the place
    of z_t, and carries

        dL/dh_{t-1} = dL/dz_t W_h^T + (what comes through the gates).

    A turn begins with that product, of the turn before: on a CPU the gates of a half then follow on the core
    that made its product.

    The gradients of weights, biases and inputs are then one product each over all T, of each half. The derivative of
    this way back is that of `scan`'s.

    Args:
        maps: the declaration.
        reverse: from t = T down to 1.
        params: the weights.
        state: s_0, leaves `[*batch, n]`.
        xs: `[T, *batch, n_in]`, not encoded; T at least 1.
        mask: bool `[T]` up to `[T, *batch]`, or None.
    """
    lanes = math.prod(xs.shape[1:-1])
    return by_parts(partial(_run, maps, reverse), lanes, params.w_h.size, params, state, xs, mask)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _run(maps, reverse, parts, params, state, xs, mask):
    return _forward(maps, reverse, parts, params, state, xs, mask)[0]


def _forward(maps, reverse, parts, params, state, xs, mask):
    length, batch, dtype = len(xs), xs.shape[1:-1], params.w_h.dtype
    columns = _columns(maps.stages, len(params.w_h))

    def room(at, piece, x):
        """Return memory for z, with the products with x in it."""
        if piece.start == _size(at.x):
            return jnp.zeros((*x.shape[:2], _size(piece)), jnp.promote_types(dtype, jnp.float32))
        return _dot(_rows(x), params.w_x[:, at.x], dtype).reshape(*x.shape[:2], -1)

    def states_from(s):
        """Return memory for s_0..s_T of a leaf."""
        return jnp.zeros((length + 1, *s.shape), s.dtype).at[-1 if reverse else 0].set(s)

    zs = [[[room(at, piece, x) for piece in _pieces(at)] for at in columns] for x in _lanes_of(xs, parts)]
    states = jax.tree.map(lambda s: s.reshape(parts[-1].stop, -1), state)
    states = [jax.tree.map(states_from, s) for s in of_parts(states, parts)]
    states, zs = _forward_loop(maps, reverse, parts, params, states, zs, _lanes(mask, batch))
    saved = params, state, xs, mask, lax.stop_gradient((states, zs))
    states = [_but_one(s, first=not reverse) for s in states]
    states = jax.tree.map(lambda *s: jnp.concatenate(s, 1).reshape(length, *batch, -1), *states)
    return (_at(states, 0 if reverse else -1), states), saved


def _forward_loop(maps, reverse, parts, params, states, zs, valid):
    columns, length = _columns(maps.stages, len(params.w_h)), len(zs[0][0][0])
    time = _time(length, reverse)
    both = len(parts) > 1 and beside(_size(parts[0]))
    products = [times(params.w_h[:, at.h], left=params.w_h.size >= MANY, side_by_side=both) for at in columns]

    def coming(zs, i):
        """Return x W_x of a turn. Asked for a turn before: reading z in the turn that writes it would copy it."""
        return _at([z[0] for z in zs], time(jnp.minimum(i, length - 1)))

    def turn(i, part, now, states, zs, x):
        t = time(i)
        new, sums = _step(maps, products, params, now, x)
        zs = [_keep(at, z, sum_k, t, 0) for at, z, sum_k in zip(columns, zs, sums, strict=True)]
        now = new if valid is None else jax.tree.map(partial(select, valid[t, part]), new, now)
        states = jax.tree.map(lambda all_s, s: _put(all_s, s, t + (not reverse)), states, now)
        zero = sum(s[0, 0] > jnp.inf for s in jax.tree.leaves(now))  # tells XLA that the gates have read x: no copy
        return now, states, zs, coming(zs, i + 1 + zero)

    def body(i, carry):
        return [turn(i, part, *of_part) for part, of_part in zip(parts, carry, strict=True)]

    carry = [(_at(s, -1 if reverse else 0), s, z, coming(z, 0)) for s, z in zip(states, zs, strict=True)]
    _, states, zs, _ = zip(*lax.fori_loop(0, length, body, carry), strict=True)
    return states, zs


def _keep(at, pieces, parts, *start):
    """Put the parts of z, as `_sums` returns them, into its pieces."""
    pieces, m = list(pieces), 0
    for z in parts:
        j = int(0 < _size(at.x) <= m)
        pieces[j] = _put(pieces[j], z, *start, m - _pieces(at)[j].start)
        m += z.shape[-1]
    return pieces


def _run_backward(maps, reverse, parts, saved, cotangents):
    params, state, xs, mask, kept = saved
    return *_backward(maps, reverse, parts, (params, state, xs), cotangents, mask, kept), None


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _backward(maps, reverse, parts, primals, cotangents, mask, kept):
    """Return dL/d(params, state, xs)."""
    (params, state, xs), (states, zs), (ct_final, ct_states) = primals, kept, cotangents
    length, batch, lanes, columns = len(xs), xs.shape[1:-1], parts[-1].stop, _columns(maps.stages, len(params.w_h))
    dtype, wide = params.w_h.dtype, zs[0][0][0].dtype
    ct_final = jax.tree.map(lambda a: a.reshape(lanes, -1), ct_final)
    ct_states = jax.tree.map(lambda a: a.reshape(length, lanes, -1), ct_states)
    inner = [[jnp.zeros((*z[0][0].shape[:2], len(params.w_h)), wide) for _ in maps.stages[1:]] for z in zs]
    zs = jax.tree.map(_rows, zs)  # now: XLA would copy what the loop leaves, were it reshaped after it
    valid = _lanes(mask, batch)
    ct_state, zs, inner = _backward_loop(maps, reverse, parts, params, ct_final, ct_states, states, zs, inner, valid)
    turn = lambda a: _held(a.T) if params.w_h.size < FEW else a.T

    def gradient(x, states, zs, inner):
        """Return dL/d(params, x) of a part."""
        hs = [maps.hidden(_but_one(states, first=reverse)), *inner]
        x_turned, d_x, d_h, d_b, ct_x = turn(_rows(x)), [], [], [], jnp.zeros((), wide)
        for at, h, dzs in zip(columns, hs, zs, strict=True):
            h_turned = turn(_rows(h))
            for piece, dz in zip(_pieces(at), dzs, strict=True):
                d_b.append(dz.sum(0))
                if piece.start < _size(at.x):
                    d_x.append(_dot(x_turned, dz, dtype))
                    ct_x += _dot(dz, params.w_x[:, at.x].T, dtype)
                by_h = dz[:, max(0, _size(at.z) - _size(at.h) - piece.start) :]
                d_h.append(_dot(h_turned, by_h, dtype))
        return Linear(jnp.concatenate(d_x, 1), jnp.concatenate(d_h, 1), jnp.concatenate(d_b)), ct_x.reshape(x.shape)

    d_params, ct_xs = zip(*map(gradient, _lanes_of(xs, parts), states, zs, inner), strict=True)
    like = lambda a, b: a.reshape(b.shape).astype(b.dtype)
    gradients = reduce(_add, d_params), ct_state, jnp.concatenate(ct_xs, 1)
    return jax.tree.map(like, gradients, (params, state, xs))


def _reads(maps, state):
    """Tell of each leaf of the state whether the gates read it."""

    def gates(state, z):
        out = (z,)
        for stage in maps.stages:
            out = stage.gates(state, *[z] * (stage.x + stage.both + stage.h), *out[1:])
        return out

    leaves, tree = jax.tree.flatten(state)
    jaxpr = jax.make_jaxpr(gates)(state, leaves[0]).jaxpr
    read = {id(v) for v in (*jaxpr.outvars, *(v for e in jaxpr.eqns for v in e.invars))}
    return tree.unflatten([id(v) in read for v in jaxpr.invars[: len(leaves)]])


def _backward_loop(maps, reverse, parts, params, ct_final, ct_states, states, zs, inner, valid):
    n, length, columns = len(params.w_h), len(jax.tree.leaves(ct_states)[0]), _columns(maps.stages, len(params.w_h))
    wide, alone = zs[0][0][0].dtype, [_size(at.z) - _size(at.h) for at in columns]  # of z, read x alone
    time = _time(length, not reverse)
    both = len(parts) > 1 and beside(_size(parts[0]))
    products = [times(params.w_h[:, at.h].T, left=params.w_h.size >= FEW, side_by_side=both) for at in columns]
    waits = len(parts) > 1 and params.w_h.shape[1] > n  # where one fusion makes all gates, an index made in it costs
    start_of = lambda t, part: jnp.asarray(t * _size(part))  # the row of z where t begins
    read = lambda zs, start, part: jax.tree.map(lambda z: lax.dynamic_slice_in_dim(z, start, _size(part)), zs)

    def parted(at, of_x, by_h):
        """Part dL/dz as `_sums` parts z."""
        dz = of_x, *jnp.split(by_h, [_size(at.x) - of_x.shape[1]], 1)
        return [d for d in dz if d.size]

    def keep(zs, dzs, start):
        """Put dL/dz in the place of z."""
        return [_keep(at, z, parted(at, *dz), start) for at, z, dz in zip(columns, zs, dzs, strict=True)]

    comes = _reads(maps, ct_final) if valid is None else jax.tree.map(lambda _: True, ct_final)

    def carried(ct):
        """Leave out the leaves that the gates do not read, to which nothing comes through them."""
        return jax.tree.map(lambda c, some: c if some else None, ct, comes)

    def through(part, ct, dz, state, first=False):
        """Return dL/ds: what came through the gates of the step that s went into, and what by their first product."""
        left_out = jax.tree.map(lambda c: jnp.where(first, c[part], 0), ct_final)
        h, pull = jax.vjp(maps.hidden, state)
        return _add(join(ct, left_out), *pull(jnp.where(first, 0, products[0](dz[0][1]).astype(h.dtype))))

    def turn(i, part, states, ct, zs, dzs, start, inner):
        t, inner = time(i), list(inner)
        new, state, direct = _at(states, t + (not reverse)), _at(states, t + reverse), _at(ct_states, (t, part))
        ct = _add(through(part, ct, dzs, new, first=i == 0), direct)
        ct_state = jax.tree.map(jnp.zeros_like, ct)
        # tells XLA that the gates of a half wait for its product: else all of them run on one core, before
        zero = sum(s[0, 0] > jnp.inf for s in jax.tree.leaves(ct)) if waits else 0
        # of the turn before; with one stage after the product, which else waits until both halves have put theirs;
        # `start` is carried, for made from i it came late
        zs = keep(zs, dzs, start + (zero if len(columns) == 1 else 0))
        start = start_of(t, part)
        z = read(zs, start + zero, part)
        dzs = [list(dz) for dz in dzs]
        if valid is not None:
            zeros, of_step = ct_state, partial(select, valid[t, part])
            ct, ct_state = jax.tree.map(of_step, ct, zeros), jax.tree.map(of_step, zeros, ct)
        out, pulls = (maps.hidden(state),), []
        for k, stage in enumerate(maps.stages):
            v, *kept = out
            if k:
                inner[k - 1] = _put(inner[k - 1], v.astype(wide), t)
            blocks = _blocks(z[k], n)
            out, pull = jax.vjp(stage.gates, state, *blocks, *kept)
            pulls.append((pull, len(blocks), v.dtype))
        for k in reversed(range(len(columns))):
            pull, count, v_dtype = pulls[k]
            ct_gates, *ct = pull(ct)
            ct_state = _add(ct_state, ct_gates)
            for m, block in zip(range(0, n * count, n), ct, strict=False):
                by_h = m >= alone[k]
                dzs[k][by_h] = _put(dzs[k][by_h], block, 0, m - by_h * alone[k])
            if k:
                ct = (products[k](dzs[k][1]).astype(v_dtype), *ct[count:])
        return carried(ct_state), zs, dzs, start, inner

    def body(i, carry):
        return [turn(i, *of_part) for of_part in zip(parts, states, *zip(*carry, strict=True), strict=True)]

    cut = lambda z: [jnp.split(jnp.concatenate(z_k, 1), [m], 1) for z_k, m in zip(z, alone, strict=True)]
    starts = [start_of(time(0), part) for part in parts]
    first = [cut(read(*of_part)) for of_part in zip(zs, starts, parts, strict=True)]  # put where it comes from
    carry = [*zip(map(carried, of_parts(ct_final, parts)), zs, first, starts, inner, strict=True)]
    cts, zs, dzs, starts, inner = zip(*lax.fori_loop(0, length, body, carry), strict=True)
    cts = map(through, parts, cts, dzs, (_at(s, -1 if reverse else 0) for s in states))
    return jax.tree.map(lambda *cts: jnp.concatenate(cts), *cts), [*map(keep, zs, dzs, starts)], inner


@_backward.defjvp
def _backward_jvp(maps, reverse, parts, arguments, tangents):
    mask = arguments[2]

    def plain(primals, cotangents):
        return jax.vjp(lambda *args: scan(maps, reverse, *args, mask), *primals)[1](cotangents)

    return _backward(maps, reverse, parts, *arguments), jax.jvp(plain, arguments[:2], tangents[:2])[1]


_run.defvjp(_forward, _run_backward)

_held = lax.optimization_barrier  # laid out once, where XLA would turn operands in every step


def beside(rows: int) -> bool:
    """Tell whether products of so many rows gain from being made side by side."""
    return rows >= 8


def _widened(w):
    """Add columns of zeros to weights [K, N] that are just one block: a second for XLA's CPU backend.

    It makes products of one block one after the other, on one core. A block is 2^16 / K columns, rounded up to a
    power of two.
    """
    k, n = w.shape
    more = (1 << (-(-BLOCK // k) - 1).bit_length()) + 8 - n
    return jnp.pad(w, ((0, 0), (0, more))) if 0 < more <= n / 4 else w


def times(w, *, left, dot=None, side_by_side=False):
    """Return v -> v W. On the left, (W^T v^T)^T, weights are read as they lie; on the right they are packed anew.

    `dot` multiplies two matrices; by default in the precision of W. `side_by_side` with another
    product, see `_widened`.
    """
    dot, n = dot or partial(_dot, dtype=w.dtype), w.shape[1]
    w = _held(w.T if left else _widened(w) if side_by_side else w)
    return lambda v: _held(dot(w, v.T)).T if left else dot(v, w)[:, :n]


def by_parts(loop, lanes, weights, *arguments):
    """Run a loop, on a CPU over two halves of the batch: the gates of one then run beside the product of the other.

    Not where there are more than a few `weights` to be read by each half.
    """
    whole = partial(loop, [slice(0, lanes)])
    if lanes < 2 or weights >= FEW:
        return whole(*arguments)
    halves = partial(loop, [slice(0, lanes // 2), slice(lanes // 2, lanes)])
    return lax.platform_dependent(*arguments, cpu=halves, default=whole)


def _put(a, value, *start):
    """Put values where they start along the leading axes of an array."""
    start = (*start, *[0] * (a.ndim - len(start)))
    return lax.dynamic_update_slice(a, value.reshape((1,) * (a.ndim - value.ndim) + value.shape), start)


def of_parts(tree, parts):
    """Part the batch."""
    return [jax.tree.map(lambda a, part=part: a[part], tree) for part in parts]


def _lanes_of(xs, parts):
    """Part inputs `[T, *batch, n]`, each to `[T, B, n]`."""
    xs = xs.reshape(len(xs), parts[-1].stop, -1)
    return [xs[:, part] for part in parts]


def _rows(a):
    return a.reshape(-1, a.shape[-1])


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
