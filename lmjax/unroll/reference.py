"""What a recurrence is: `lax.scan` over `step`, differentiated by JAX alone. The oracle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.cell import Cell
from lmjax.tree import is_floating, vary_alike, where

__all__ = ["check_arguments", "layer_by_layer", "masked", "scan", "without_padding"]


@partial(jax.jit, static_argnames=("cell", "reverse"))
def scan(cell: Cell, params, state, xs, *, mask=None, reverse: bool = False):
    """Run a cell over time as `unroll` does, differentiated by JAX alone.

        s_t = step(params, s_{t-1}, encode(params, xs)_t)

    Same arguments, same states. It serves every mode of differentiation (forward mode included) and
    is the oracle for `unroll`; its backward pass adds to the parameters' gradient at every step.

    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> _, states = scan(cell, 0.5, jnp.zeros(()), jnp.ones(3))
    >>> states.tolist()
    [1.0, 1.5, 1.75]
    """
    if cell.layers:
        return layer_by_layer(scan, cell, params, state, xs, mask=mask, reverse=reverse)
    check_arguments(cell, params, state, xs, mask)
    params, state, xs, mask = vary_alike((params, state, xs, mask))
    cell, xs = masked(cell, xs, mask)

    def body(state, x):
        state = cell.step(params, state, x)
        return state, state

    return lax.scan(body, state, cell.encode(params, xs), reverse=reverse)


def layer_by_layer(
    run, cell: Cell, params, state, xs, *, between: Callable = lambda k, ys: ys, **options
):
    """Run a stack: each layer over all T by itself; it reads once, and the next encodes once.

    Args:
        run: `unroll` or `scan`, which runs a layer.
        cell: the stack; it and what follows, `options` too, are as for `unroll`.
        params: one entry a layer.
        state: one entry a layer.
        xs: of the first layer.
        between: `k, ys[T, ...] -> xs[T, ...]`: what the layer above makes of the outputs of layer
            k, counted from 0.
    """
    finals, states = [], []
    for k, (layer, of_layer, s_0) in enumerate(zip(cell.layers, params, state, strict=True)):
        final, outputs = run(layer, of_layer, s_0, xs, **options)
        finals.append(final)
        states.append(outputs)
        xs = between(k, layer.read(of_layer, outputs))
    return tuple(finals), tuple(states)


def masked(cell: Cell, xs, mask):
    """Return a cell that keeps its state where a step is padding, and inputs that hold the mask.

        s_t = step(params, s_{t-1}, input_t)  where valid_t,  else s_{t-1}

    NaN in a padded input, times a zero gradient, would reach the parameters: padding becomes zero.
    """
    if mask is None:
        return cell, xs

    def step(params, state, at_t):
        x, valid = at_t
        return where(valid, cell.step(params, state, x), state)

    def encode(params, padded):
        xs, mask = padded
        return cell.encode(params, xs), mask

    return cell._replace(step=step, encode=encode, layers=()), (without_padding(xs, mask), mask)


def without_padding(xs, mask):
    """Return inputs whose floating leaves are zero at padded steps, whatever they hold there."""
    if mask is None:
        return xs
    zeros = jax.tree.map(lambda x: jnp.zeros_like(x) if is_floating(x) else x, xs)
    return where(mask, xs, zeros)


def check_arguments(cell: Cell, params, state, xs, mask) -> None:
    """Raise an error where the arguments of `unroll` do not fit each other."""
    leading = [jnp.shape(x)[:1] for x in jax.tree.leaves((xs, mask))]
    if len(set(leading)) != 1 or () in leading:
        shapes = [jnp.shape(x) for x in jax.tree.leaves((xs, mask))]
        raise ValueError(
            "unroll: every leaf of xs and the mask must share one leading axis T, "
            f"got shapes {shapes}"
        )

    def one_step(params, state, xs):
        inputs = cell.encode(params, xs)
        first = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), inputs)
        return cell.step(params, state, first)

    describe = lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}"
    given = jax.tree.map(describe, state)
    returned = jax.tree.map(describe, jax.eval_shape(one_step, params, state, xs))
    if given != returned:
        raise ValueError(
            f"unroll: step must return a state like the one it is given, {given}, got {returned}"
        )
