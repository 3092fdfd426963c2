"""The protocol: a recurrent cell is what must be sequential, with what need not be on either side.

    s_t = step(params, s_{t-1}, encode(params, xs)_t)        y_t = read(params, s_t)

`unroll` runs a cell over time and owns the backward pass; everything else in the library (training,
scoring, generation, diagnosis) is written once, against `Cell`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.tree_util import Partial

from lmjax import jaxprs
from lmjax import maps as linear_maps
from lmjax.maps import Maps, join, select

__all__ = ["Cell", "Gradients", "affine", "passthrough", "record", "recurrent_weights", "scan", "unroll"]


def passthrough(params, x):
    """Return `x`: the default `encode` and `read`."""
    return x


def affine(params, state, x):
    """Return a s + b for an input x = (a, b): the `step` of a cell that is linear in its state, entry by entry.

        s_t = a_t s_{t-1} + b_t,        (a_t, b_t) = encode(params, xs)_t

    The state is one array. `unroll` knows this step: it keeps nothing of it but the states, and where
    there is an accelerator it needs about 2 log2 T steps, not T (`lax.associative_scan`).

    >>> decay = lambda a, xs: (jnp.full(xs.shape, a), xs)
    >>> cell = Cell(init=None, initial_state=None, step=affine, encode=decay)
    >>> unroll(cell, 0.5, jnp.zeros(()), jnp.ones(3))[1].tolist()
    [1.0, 1.5, 1.75]

    References: Blelloch (1990); Martin and Cundy (2018).
    """
    a, b = x
    return a * state + b


class Cell(NamedTuple):
    """A recurrence as plain functions.

    Three of them make a cell. All broadcast over leading axes, so that one cell serves a state `[n]`
    and a batch of states `[B, n]`. A state is any pytree of arrays; `step` returns it and nothing else.
    A parameter named `w_h` is taken for the recurrent matrix (see `recurrent_weights`).

    >>> import jax, jax.numpy as jnp
    >>> leaky = Cell(
    ...     init=lambda key: {"a": jnp.float32(0.9), "u": jax.random.normal(key, (3, 4))},
    ...     initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 4)),
    ...     step=lambda params, h, x: params["a"] * h + jnp.tanh(x @ params["u"]),
    ... )
    >>> params = leaky.init(jax.random.key(0))
    >>> final, states = unroll(leaky, params, leaky.initial_state(params), jnp.ones((5, 3)))
    >>> states.shape
    (5, 4)
    """

    init: Callable  # key -> params
    initial_state: Callable  # params, batch_shape=() -> s_0
    step: Callable  # params, state, input -> state
    encode: Callable = passthrough  # params, xs[T, ...] -> inputs[T, ...]      once over all T
    read: Callable = passthrough  # params, states[...] -> outputs[...]         once over all T
    layers: tuple[Cell, ...] = ()  # the cells of a `stack`, each of which runs over all T by itself
    gates: Callable | None = None  # params, state, input -> {name: values in (0, 1)}; "f" keeps the old state
    maps: Maps | None = None  # what `step` and `encode` are made of, where `unroll` shall do the products


class Gradients(NamedTuple):
    """What one backward pass through time yields for a scalar loss L."""

    params: Any  # dL/dtheta
    state: Any  # dL/ds_0
    inputs: Any  # dL/dinput_t   [T, ...]
    states: Any  # dL/ds_t       [T, ...]   total: through s_t's own use and through all later states


# --- running a cell over time --------------------------------------------------------------------


@partial(jax.jit, static_argnames=("cell", "reverse", "segment"))
def unroll(cell: Cell, params, state, xs, *, mask=None, reverse: bool = False, segment: int | None = None):
    """Run a cell over time: s_t = step(params, s_{t-1}, encode(params, xs)_t) for t = 1..T.

    The backward pass is explicit. A reverse scan carries only the cotangent of the state,

        dL/ds_{t-1} = (ds_t/ds_{t-1})^T dL/ds_t + (direct use of s_{t-1}),

    and the gradient of the parameters is one contraction over all T afterwards (for a matrix in
    `step`, one GEMM of depth T B instead of T small ones that each update an accumulator).

    On a CPU two halves of a batch run side by side, where a cell treats each row by itself (as far as can be told
    from its equations) and the weights that the state is multiplied by are few.

    Differentiation: reverse mode, and reverse or forward mode over that (gradient of a gradient,
    Hessian-vector products as `jvp` of `grad`). Forward mode straight through `unroll` is refused by
    JAX (`custom_vjp`); use `scan`, which computes the same states, for that.

    Args:
        cell: the recurrence. Static under jit: equal cells share one trace.
        params: the cell's parameters.
        state: s_0, e.g. `cell.initial_state(params, (B,))`, or the final state of an earlier call; then
            gradients stop at the call's boundary (truncated backpropagation through time).
        xs: inputs, every leaf `[T, ...]` or `[T, B, ...]`.
        mask: bool `[T]` or `[T, B]`; where False the step is padding: the state passes unchanged,
            and whatever the input holds there (NaN included) has no effect on values or gradients.
        reverse: run from t = T down to 1; `states[t]` is still the state after input t.
        segment: None to keep every step's residuals; a length k to keep the state at every k-th step
            only and recompute each segment going backward (memory ~ T/k states + k steps' residuals).

    Returns:
        `(final, states)`: the last state, and all of them stacked, every leaf `[T, ...]`.

    Raises:
        ValueError: leaves of `xs` or `mask` disagree on T, or `segment` is not positive.

    References: Werbos (1988); Williams and Peng (1990) for truncation; Chen, Xu, Zhang and Guestrin
    (2016) for segments.
    """
    if segment is not None:
        return _segments(cell, params, state, xs, mask, reverse, segment)
    if cell.layers:
        return _layers(unroll, cell, params, state, xs, mask, reverse)
    _check(cell, params, state, xs, mask)
    if cell.maps and xs.size and _floating(xs):
        return linear_maps.run(cell.maps, reverse, params, state, _unpadded(xs, mask), mask)
    if cell.step is affine:
        return _run_affine(reverse, state, cell.encode(params, _unpadded(xs, mask)), mask)
    cell, xs = _padded(cell, xs, mask)
    rows, weights = jaxprs.by_rows(cell.encode, cell.step, params, state, xs)
    return linear_maps.by_parts(partial(_run_parts, cell, reverse), rows, weights, params, state, xs)


@partial(jax.jit, static_argnames=("cell", "reverse"))
def scan(cell: Cell, params, state, xs, *, mask=None, reverse: bool = False):
    """Run a cell over time as `unroll` does, differentiated by JAX alone.

    Same arguments, same states. It serves every mode of differentiation (forward mode included) and
    is the oracle for `unroll`; its backward pass adds to the parameters' gradient at every step.

    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> _, states = scan(cell, 0.5, jnp.zeros(()), jnp.ones(3))
    >>> states.tolist()
    [1.0, 1.5, 1.75]
    """
    if cell.layers:
        return _layers(scan, cell, params, state, xs, mask, reverse)
    _check(cell, params, state, xs, mask)
    cell, xs = _padded(cell, xs, mask)

    def body(state, x):
        state = cell.step(params, state, x)
        return state, state

    return lax.scan(body, state, cell.encode(params, xs), reverse=reverse)


@partial(jax.jit, static_argnames=("cell", "reverse"))
def record(cell: Cell, params, state, xs, *, mask=None, reverse: bool = False):
    """Run a cell over time and keep its linearisation: the forward half of backpropagation.

    Where `unroll` hands its backward pass to JAX, `record` hands it to the caller, dL/ds_t included.
    A `stack` is taken as one cell, so that dL/ds_t is with respect to the state as the next step sees it.

    Returns:
        `((final, states), pullback)`: `pullback(ct_final, ct_states) -> Gradients` takes the direct
        derivatives of L with respect to the two results.

    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> (final, states), pullback = record(cell, 0.5, jnp.zeros(()), jnp.ones(3))
    >>> pullback(jnp.ones(()), jnp.zeros(3)).states.tolist()          # L = h_3: dL/dh_t = a^(3 - t)
    [0.25, 0.5, 1.0]
    """
    _check(cell, params, state, xs, mask)
    padded, padded_xs = _padded(cell, xs, mask)
    functions, params = _converted(padded, params, state, padded_xs)
    results, pullback = _record(functions, reverse, 0, params, state, padded_xs)
    return results, Partial(partial(_recorded, mask is not None), pullback)


def _recorded(padded, pullback, ct_final, ct_states) -> Gradients:
    gradients = pullback(ct_final, ct_states)[0]
    params, inputs = gradients.params[0], gradients.inputs
    return gradients._replace(params=params, inputs=inputs[0] if padded else inputs)


def recurrent_weights(params) -> dict[str, jax.Array]:
    """Return the recurrent matrices W_h of a cell by path: every leaf that is named `w_h`.

    Each is `[n, k n]`, k blocks (gates) side by side, acting on rows: z = h w_h.

    >>> params = ({"w_h": jnp.eye(2), "b": jnp.zeros(2)}, {"w_h": jnp.ones((2, 2))})
    >>> list(recurrent_weights(params))
    ['0.w_h', '1.w_h']
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = ((jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves)
    return {name: leaf for name, leaf in named if name.rpartition(".")[2] == "w_h"}


# --- the scan and its backward pass ----------------------------------------------------------------


def _check(cell, params, state, xs, mask):
    """Raise an error where the arguments do not fit each other."""
    lengths = {jnp.shape(x)[:1] for x in jax.tree.leaves((xs, mask))}
    if len(lengths) != 1 or lengths == {()}:
        shapes = [jnp.shape(x) for x in jax.tree.leaves((xs, mask))]
        raise ValueError(f"unroll: every leaf of xs and the mask must share one leading axis T, got shapes {shapes}")
    new = jax.eval_shape(lambda *args: cell.step(*args, _first(cell.encode(params, xs))), params, state)
    described = [jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", s) for s in (state, new)]
    if described[0] != described[1]:
        raise ValueError(
            f"unroll: step must return a state like the one it is given, {described[0]}, got {described[1]}"
        )


def _first(inputs):
    """Return the input of one step, of zeros."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), inputs)


def _padded(cell, xs, mask):
    """Return a cell that keeps the state where a step is padding, and its inputs, with the mask."""
    if mask is None:
        return cell, xs

    def step(params, state, at_t):
        x, valid = at_t
        return jax.tree.map(partial(select, valid), cell.step(params, state, x), state)

    def encode(params, padded):
        return cell.encode(params, _unpadded(*padded)), padded[1]

    return Cell(init=None, initial_state=None, step=step, encode=encode), (xs, mask)


def _unpadded(xs, mask):
    """Zero what padded inputs hold: NaN there, times a zero gradient, must reach no parameter."""
    if mask is None:
        return xs
    return jax.tree.map(lambda x: select(mask, x, jnp.zeros_like(x)) if _floating(x) else x, xs)


def _run_parts(cell, reverse, parts, params, state, xs):
    """Run a cell over parts of the batch side by side, as one whose state and input are lists."""
    if len(parts) == 1:
        functions, params = _converted(cell, params, state, xs)
        return _run(functions, reverse, 0, params, state, xs)

    def step(params, states, inputs):
        return [cell.step(params, *of_part) for of_part in zip(states, inputs, strict=True)]

    def encode(params, xs):
        return [cell.encode(params, x) for x in xs]

    state = linear_maps.of_parts(state, parts)
    xs = [jax.tree.map(lambda x, part=part: x[:, part] if x.ndim > 1 else x, xs) for part in parts]
    functions, params = _converted(Cell(None, None, step, encode), params, state, xs)
    fewest = min(part.stop - part.start for part in parts)
    final, states = _run(functions, reverse, fewest, params, state, xs)
    join = lambda axis, trees: jax.tree.map(lambda *a: jnp.concatenate(a, axis), *trees)
    return join(0, final), join(1, states)


def _converted(cell, params, state, xs):
    """Turn all that `step` and `encode` close over into parameters."""
    first = _first(jax.eval_shape(cell.encode, params, xs))
    step, of_step = jax.closure_convert(cell.step, params, state, first)
    encode, of_encode = jax.closure_convert(cell.encode, params, xs)

    def converted_step(params, state, x):
        return step(params[0], state, x, *params[1][0])

    def converted_encode(params, xs):
        return encode(params[0], xs, *params[1][1])

    return (converted_step, converted_encode), (params, (of_step, of_encode))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _run(functions, reverse, fewest, params, state, xs):
    return _record(functions, reverse, fewest, params, state, xs)[0]


def _run_backward(functions, reverse, fewest, pullback, cotangents):
    gradients, ct_xs = pullback(*cotangents)
    return gradients.params, gradients.state, ct_xs


def _record(functions, reverse, fewest, params, state, xs):
    """Run the recurrence on the linearised step; return the results and their pullback.

    The residuals of a linearised step are of four kinds: those that depend on the parameters alone (the weights
    themselves), which are kept once; states, which are kept as such; those that others give at the cost of a sum or
    product, as sigma'(z) = sigma (1 - sigma), which are made again; and all others, which the scan stacks.

    `fewest` are the rows of the smallest part of the batch, 0 where it is not in parts.
    """
    (step, encode), (params, params_int), (xs, xs_int) = functions, _split(params), _split(xs)

    def encoded(params, xs):
        return _split(encode(join(params, params_int), join(xs, xs_int)))

    inputs, unencode, inputs_int = jax.vjp(encoded, params, xs, has_aux=True)

    def linearised(params, state, x, x_int):
        state, state_int = _split(state)

        def differentiable(params, state, x):
            return _split(step(join(params, params_int), join(state, state_int), join(x, x_int)))

        new, linear, new_int = jax.linearize(differentiable, params, state, x, has_aux=True)
        return linear, join(new, new_int)

    first = state, _first(inputs), _first(inputs_int)
    jaxpr, shapes = jax.make_jaxpr(linearised, return_shape=True)(params, *first)
    (tree, state_tree), count = map(jax.tree.structure, shapes), len(jax.tree.leaves(params))
    names, new = jaxpr.jaxpr.outvars[: tree.num_leaves], jaxpr.jaxpr.outvars[tree.num_leaves :]
    old = jaxpr.jaxpr.invars[count : count + len(new)]
    kept, again = jaxprs.kept(jaxpr.jaxpr, names, jaxprs.depends(jaxpr.jaxpr, jaxpr.jaxpr.invars[count:]))
    once, each, varies = jaxprs.apart(jaxpr.replace(jaxpr=jaxpr.jaxpr.replace(outvars=[*kept, *new])), count)
    fixed = once(*jax.tree.leaves(params))
    run = jaxprs.laid_out(each, fixed) if linear_maps.beside(fewest) else partial(core.jaxpr_as_fun(each), *fixed)
    constant, along = ([v for v, v_varies in zip(kept, varies, strict=False) if v_varies is it] for it in (False, True))
    stacked = [v for v in along if v not in (*old, *new)]

    def residuals(*args, of):
        out = run(*jax.tree.leaves(args))
        known = dict(zip(kept, out, strict=False))
        return [known[v] for v in of], jax.tree.unflatten(state_tree, out[len(kept) :])

    def body(state, at_t):
        found, state = residuals(state, *at_t, of=stacked)
        return state, (found, state)

    final, (found, states) = lax.scan(body, state, (inputs, inputs_int), reverse=reverse)
    news = jax.tree.leaves(states)
    olds = map(partial(_before, reverse), jax.tree.leaves(state), news)
    of_time = [*zip(stacked, found, strict=True), *zip(old, olds, strict=True), *zip(new, news, strict=True)]
    varying = [next(a for v, a in of_time if v is kept_v) for kept_v in along]

    def linear_step(constants, varying):
        known = dict(zip((*constant, *along), (*constants, *varying), strict=True))
        for e in again:
            jaxprs.evaluate(jaxpr.jaxpr, e, known)
        return jax.tree.unflatten(tree, [known[n] if isinstance(n, core.Var) else n.val for n in names])

    like = jax.eval_shape(lambda *args: args, params, _split(state)[0], _first(inputs))
    length = len(jax.tree.leaves((inputs, inputs_int))[0])
    constants, _ = residuals(*first, of=constant)
    pullback = Partial(partial(_pullback, linear_step, like, length, reverse, fewest), constants, varying, unencode)
    return (final, states), pullback


def _before(reverse, first, xs):
    """Return x_{t-1} of x_1..x_T, given x_0; from the other end x_{t+1}, given x_{T+1}."""
    return jnp.concatenate([xs, first[None]])[1:] if reverse else jnp.concatenate([first[None], xs])[:-1]


def _pullback(linear_step, like, length, reverse, fewest, constant, varying, unencode, ct_final, ct_states):
    """Transpose the linearised recurrence: a reverse scan for the state, then all T steps at once, then `encode`.

    Returns:
        `(Gradients, dL/dxs)`.
    """

    def back(constant, linear, ct):
        return jax.linear_transpose(linear_step(constant, linear), *like)(ct)[1]

    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), varying)
    turn = jaxprs.turn(back, constant, one, like[1], fewest=fewest)
    ct_final, ct_states = _split(ct_final)[0], _split(ct_states)[0]

    def through(room, first):
        """Return what comes to dL/ds_t from the step after."""
        return jax.tree.map(partial(jnp.where, first), ct_final, turn.after(*room))

    def body(carry, at_t):
        linear, ct_t = at_t
        ct = _add(through(*carry), ct_t)  # dL/ds_t
        return (turn.before(carry[0], linear, ct), False), ct

    carry, cts = lax.scan(body, (turn.room, True), (varying, ct_states), length, reverse=not reverse)

    def all_steps(params, states, xs):
        return jax.vmap(lambda linear, s, x: linear_step(constant, linear)(params, s, x))(varying, states, xs)

    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((length, *x.shape), x.dtype), like[1:])
    ct_params, _, ct_inputs = jaxprs.untransposed(jax.linear_transpose(all_steps, like[0], *stacked), cts)
    ct_encoder, ct_xs = jaxprs.untransposed(unencode, ct_inputs)
    return Gradients(_add(ct_params, ct_encoder), through(*carry), ct_inputs, cts), ct_xs


_run.defvjp(_record, _run_backward)


def _floating(x) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _split(tree):
    """Part a pytree in its floating leaves and the others, with None in the places of the rest."""
    floats = jax.tree.map(lambda x: x if _floating(x) else None, tree)
    return floats, jax.tree.map(lambda x: None if _floating(x) else x, tree)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


# --- ways of unrolling -----------------------------------------------------------------------------


def _layers(run, cell, params, state, xs, mask, reverse):
    """A stack layer by layer: each runs over all T and reads once, the next encodes once."""
    finals, states = [], []
    for layer, p, s in zip(cell.layers, params, state, strict=True):
        final, outputs = run(layer, p, s, xs, mask=mask, reverse=reverse)
        finals.append(final)
        states.append(outputs)
        xs = layer.read(p, outputs)
    return tuple(finals), tuple(states)


def _segments(cell, params, state, xs, mask, reverse, segment):
    """Keep the state between segments only; the last segment is filled up with padded steps."""
    if segment < 1:
        raise ValueError(f"unroll: segment must be at least 1, got {segment}")
    length = len(jax.tree.leaves(xs)[0])
    mask = jnp.ones(length, bool) if mask is None else mask
    blocks = jax.tree.map(
        lambda x: jnp.pad(x, [(0, -length % segment)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, segment, *x.shape[1:]),
        (xs, mask),
    )

    @jax.checkpoint
    def body(state, block):
        return unroll(cell, params, state, block[0], mask=block[1], reverse=reverse)

    final, states = lax.scan(body, state, blocks, reverse=reverse)
    return final, jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:])[:length], states)


# --- cells that are linear in the state -------------------------------------------------------------


def _run_affine(reverse, state, inputs, mask):
    """Run s_t = a_t s_{t-1} + b_t; padding is a = 1, b = 0."""
    like_state = jax.vmap(lambda x: jnp.broadcast_to(x, state.shape).astype(state.dtype))
    a, b = map(like_state, inputs)
    if not len(b):
        return state, b
    if mask is not None:
        a, b = select(mask, a, jnp.ones_like(a)), select(mask, b, jnp.zeros_like(b))
    states = _recurrence(reverse, state, a, b)
    return states[0 if reverse else -1], states


def _solve(reverse, state, a, b):
    """All states of s_t = a_t s_{t-1} + b_t: a CPU gains nothing from the parallel form, at any size."""
    sequence, parallel = partial(_in_sequence, reverse), partial(_in_parallel, reverse)
    return lax.platform_dependent(state, a, b, cpu=sequence, default=parallel)


def _in_sequence(reverse, state, a, b):
    def body(state, at_t):
        state = affine(None, state, at_t)
        return state, state

    return lax.scan(body, state, (a, b), reverse=reverse)[1]


def _in_parallel(reverse, state, a, b):
    then = lambda f, g: (g[0] * f[0], g[0] * f[1] + g[1])  # g after f
    decay, states = lax.associative_scan(then, (a, b), reverse=reverse)
    return decay * state + states


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recurrence(reverse, state, a, b):
    return _solve(reverse, state, a, b)


def _recurrence_forward(reverse, state, a, b):
    states = _solve(reverse, state, a, b)
    return states, (state, a, states)


def _recurrence_backward(reverse, kept, ct):
    """Transpose: g_t = ct_t + a_{t+1} g_{t+1} is the same recurrence in the other direction."""
    state, a, states = kept
    g = _solve(not reverse, jnp.zeros_like(state), _before(not reverse, jnp.zeros_like(state), a), ct)
    first = -1 if reverse else 0
    return (a * g)[first], _before(reverse, state, states) * g, g


_recurrence.defvjp(_recurrence_forward, _recurrence_backward)
