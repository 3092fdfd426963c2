"""Running a cell over time, with an explicit backward pass.

Read on in this order: `reference` (what a recurrence is), `backward` (its gradient), `residuals`
(what is kept for it), then the special ways: `segments`, `associative`, `window`, and `cpu`, one
backend's schedule.
"""

from __future__ import annotations

from functools import partial

import jax
from jax.tree_util import Partial

from lmjax.cell import Cell, affine, shift_register
from lmjax.tree import add, combine, partition, vary_alike
from lmjax.unroll.associative import run_affine
from lmjax.unroll.backward import PLAIN, Gradients, Schedule, run, run_forward
from lmjax.unroll.cpu import CPU
from lmjax.unroll.reference import (
    check_arguments,
    layer_by_layer,
    masked,
    scan,
    without_padding,
)
from lmjax.unroll.segments import unroll_segments
from lmjax.unroll.window import run_shift_register

__all__ = [
    "SCHEDULES",
    "Gradients",
    "check_arguments",
    "layer_by_layer",
    "record",
    "scan",
    "unroll",
]

SCHEDULES = {"cpu": CPU}  # by backend


@partial(jax.jit, static_argnames=("cell", "reverse", "segment"))
def unroll(
    cell: Cell,
    params,
    state,
    xs,
    *,
    mask=None,
    reverse: bool = False,
    segment: int | None = None,
):
    """Run a cell over time: s_t = step(params, s_{t-1}, encode(params, xs)_t) for t = 1..T.

    The backward pass is explicit. A reverse scan carries only the cotangent of the state,

        dL/ds_{t-1} = (ds_t/ds_{t-1})^T dL/ds_t + (direct use of s_{t-1}),

    and the gradient of the parameters is one contraction over all T afterwards (for a matrix in
    `step`, one GEMM of depth T B instead of T small ones that each update an accumulator).

    Differentiation: reverse mode, and reverse or forward mode over that (gradient of a gradient,
    Hessian-vector products as `jvp` of `grad`). Forward mode straight through `unroll` is refused
    by JAX (`custom_vjp`); use `scan`, which computes the same states, for that.

    It runs inside `jax.shard_map`, and under `jit` with a sharded batch: nothing in the loops is
    communicated.

    Args:
        cell: the recurrence. Static under jit: equal cells share one trace.
        params: the cell's parameters.
        state: s_0, e.g. `cell.initial_state(params, (B,))`, or the final state of an earlier call;
            then gradients stop at the call's boundary (truncated backpropagation through time).
        xs: inputs, every leaf `[T, ...]` or `[T, B, ...]`.
        mask: bool `[T]` or `[T, B]`; where False the step is padding: the state passes unchanged,
            and whatever the input holds there (NaN included) has no effect on values or gradients.
        reverse: run from t = T down to 1; `states[t]` is still the state after input t.
        segment: None to keep every step's residuals; a length k to keep the state at every k-th
            step only and recompute each segment going backward.

    Returns:
        `(final, states)`: the last state, and all of them stacked, every leaf `[T, ...]`.

    Raises:
        ValueError: leaves of `xs` or `mask` disagree on T, `step` returns another kind of state, or
            `segment` is not positive.

    References: Werbos (1988); Williams and Peng (1990) for truncation; Chen, Xu, Zhang and
    Guestrin (2016) for segments.
    """
    options = {"mask": mask, "reverse": reverse}
    if cell.layers and segment is None:
        return layer_by_layer(unroll, cell, params, state, xs, **options)
    check_arguments(cell, params, state, xs, mask)
    params, state, xs, options["mask"] = vary_alike((params, state, xs, mask))
    if not len(jax.tree.leaves(xs)[0]):
        return scan(cell, params, state, xs, **options)
    if segment is not None:
        return unroll_segments(unroll, cell, params, state, xs, segment=segment, **options)
    if cell.step is affine:
        return run_affine(reverse, state, cell.encode(params, without_padding(xs, mask)), mask)
    if cell.step is shift_register and mask is None and not reverse:
        return run_shift_register(state, cell.encode(params, xs))
    cell, xs = masked(cell, xs, mask)
    cell = schedule().arrange(cell)
    inputs = cell.encode(params, xs)
    step, params = with_closure(cell, params, state, inputs)
    return run(step, reverse, schedule(), params, state, inputs)


@partial(jax.jit, static_argnames=("cell", "reverse"))
def record(
    cell: Cell,
    params,
    state,
    xs,
    *,
    mask=None,
    reverse: bool = False,
):
    """Run a cell over time and keep its linearisation: the forward half of backpropagation.

    Where `unroll` hands its backward pass to JAX, `record` hands it to the caller, with dL/ds_t.
    A `stack` is taken as one cell, so that dL/ds_t is with respect to the state as the next step
    sees it.

    Args:
        cell: the recurrence; it and the others are as for `unroll`, T at least 1.
        params: the cell's parameters.
        state: s_0.
        xs: inputs.
        mask: False at padded steps.
        reverse: run from t = T down to 1.

    Returns:
        `((final, states), pullback)`: `pullback(ct_final, ct_states) -> Gradients` takes the direct
        derivatives of L with respect to the two results.

    >>> import jax.numpy as jnp
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> (final, states), pullback = record(cell, 0.5, jnp.zeros(()), jnp.ones(3))
    >>> pullback(jnp.ones(()), jnp.zeros(3)).states.tolist()        # L = h_3: dL/dh_t = a^(3 - t)
    [0.25, 0.5, 1.0]
    """
    check_arguments(cell, params, state, xs, mask)
    cell, xs = masked(cell, xs, mask)
    theta, others = partition(params)
    encode = lambda theta: partition(cell.encode(combine(theta, others), xs))
    floating, encode_pullback, integers = jax.vjp(encode, theta, has_aux=True)
    inputs = combine(floating, integers)
    step, params = with_closure(cell, params, state, inputs)
    results, pullback = run_forward(step, reverse, schedule(), params, state, inputs)
    return results, Partial(partial(whole_gradient, mask is not None), pullback, encode_pullback)


def whole_gradient(padded, pullback, encode_pullback, ct_final, ct_states) -> Gradients:
    """Add what `encode` contributes to dL/dparams to the gradient of the recurrence."""
    gradients = pullback(ct_final, ct_states)
    (of_encode,) = encode_pullback(gradients.inputs)
    inputs = gradients.inputs[0] if padded else gradients.inputs
    return gradients._replace(params=add(gradients.params[0], of_encode), inputs=inputs)


def with_closure(cell: Cell, params, state, inputs):
    """Return the step and its parameters, among them what `cell.step` closes over.

    A function with a derivative of its own must be handed all that it is differentiated by.
    """
    first = jax.tree.map(lambda x: x[0], inputs)
    step, closed_over = jax.closure_convert(cell.step, params, state, first)
    return lambda params, state, x: step(params[0], state, x, *params[1]), (params, closed_over)


def schedule() -> Schedule:
    """Return the schedule of the backend that JAX computes on."""
    return SCHEDULES.get(jax.default_backend(), PLAIN)
