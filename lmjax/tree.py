"""Pytrees: their floating leaves and the others, and choices along their leading axes."""

import jax
import jax.numpy as jnp

__all__ = ["add", "combine", "is_floating", "partition", "where"]


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
    return jax.tree.map(lambda a, b: b if a is None else a, some, others, is_leaf=lambda a: a is None)


def add(a, b):
    """Add two pytrees, leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)


def where(mask, tree, other):
    """Return the first pytree where `mask` and the other elsewhere, along the leading axes that the mask has."""

    def choose(x, y):
        return jnp.where(mask.reshape(mask.shape + (1,) * (jnp.ndim(x) - mask.ndim)), x, y)

    return jax.tree.map(choose, tree, other)
