"""Pytrees: their floating leaves and the others, and choices along their leading axes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["add", "combine", "finite", "is_floating", "partition", "shift", "vary_alike", "where"]


def is_floating(x) -> bool:
    """Return whether a leaf can have a derivative."""
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def partition(tree):
    """Part a pytree into its floating leaves and the others, with None in the places of the rest.

    >>> partition({"h": 0.5, "count": 3})
    ({'count': None, 'h': 0.5}, {'count': 3, 'h': None})
    """
    floating = jax.tree.map(lambda x: x if is_floating(x) else None, tree)
    return floating, jax.tree.map(lambda x: None if is_floating(x) else x, tree)


def combine(some, others):
    """Fill the places of a pytree that hold None with what others hold there: undo `partition`."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, some, others, is_leaf=lambda a: a is None
    )


def finite(value):
    """Return nested dicts and lists as JSON can hold them: None for what is not finite.

    >>> finite({"perplexity": float("nan"), "curve": (1.5, float("inf"))})
    {'perplexity': None, 'curve': [1.5, None]}
    """
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def add(a, b):
    """Add two pytrees, leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)


def where(mask, tree, other):
    """Return the first pytree where `mask`, the other elsewhere; a mask has leading axes."""

    def choose(x, y):
        return jnp.where(mask.reshape(mask.shape + (1,) * (jnp.ndim(x) - mask.ndim)), x, y)

    return jax.tree.map(choose, tree, other)


def shift(first, sequence, reverse: bool = False):
    """Return x_{t-1} for every t of a sequence x_1..x_T, given x_0; from the other end, x_{t+1}.

    >>> shift(jnp.zeros(()), jnp.array([1.0, 2.0, 3.0])).tolist()
    [0.0, 1.0, 2.0]
    """

    def moved(x, xs):
        x = jnp.asarray(x, xs.dtype)[None]
        return jnp.concatenate([xs, x])[1:] if reverse else jnp.concatenate([x, xs])[:-1]

    return jax.tree.map(moved, first, sequence)


def vary_alike(tree):
    """Let all leaves vary over the mesh axes that any of them varies over; for `jax.shard_map`.

    The state that a loop carries and the parameters are mostly the same on every device, the inputs
    are not. Made alike before a loop, their gradients are added up over devices once, after it.
    """
    varying = lambda x: jax.typeof(x).manual_axis_type.varying
    axes = frozenset().union(*map(varying, jax.tree.leaves(tree)))
    missing = lambda x: tuple(axes - varying(x))
    return jax.tree.map(lambda x: lax.pcast(x, missing(x), to="varying") if missing(x) else x, tree)
