"""The rows of large tables that one batch reads: taken out, trained, put back."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lmjax.ids import is_word
from lmjax.models import Params

__all__ = ["Rows", "put", "take", "used"]


@dataclass(frozen=True)
class Rows:
    """Some rows of a table, indexed by the ids that they have in the whole."""

    rows: jax.Array  # [M, ...]
    ids: jax.Array  # int [M], rising
    size: int  # of the whole

    def __len__(self):
        return self.size

    def __getitem__(self, ids):
        return self.rows[jnp.searchsorted(self.ids, ids)]

    def take(self, ids, axis: int):
        """Return what indexing does, and NaN where the whole table has no such row."""
        return jnp.where(is_word(ids, self.size)[..., None], self[ids], jnp.nan)

    @property
    def dtype(self):
        """That of the rows."""
        return self.rows.dtype

    def astype(self, dtype):
        """Return the rows in another precision."""
        return Rows(self.rows.astype(dtype), self.ids, self.size)


def used(parts: Params, tree):
    """Return the distinct ids of the rows used of each leaf, `...` for all of them.

    Where the optimiser keeps something for each parameter it does so in a `Params`. Where that has
    not the parameters' shapes, or gathers gradients over steps, all rows are used. Ids are filled
    up to a fixed number with one that no table has.

    Args:
        parts: ids, repeated as they may be, for each part of a model; see `models.rows`.
        tree: the parameters and the optimiser's state.
    """
    if not _by_row(*tree):
        parts = Params(..., ..., ...)
    distinct = jax.tree.map(
        lambda i: i if i is ... else jnp.unique(i, size=i.size, fill_value=jnp.iinfo(i.dtype).max),
        parts,
    )
    return jax.tree.map(
        lambda x: jax.tree.broadcast(distinct, x) if _of_model(x) else ..., tree, is_leaf=_of_model
    )


def _of_model(node) -> bool:
    return isinstance(node, Params)


def _by_row(params: Params, opt) -> bool:
    """Whether each row of a table can be trained alone."""
    named = jax.tree_util.tree_leaves_with_path
    shape = {path: x.shape for path, x in named(params)}
    gathers = lambda node: isinstance(node, optax.MultiStepsState)
    return not any(map(gathers, jax.tree.leaves(opt, is_leaf=gathers))) and all(
        x.shape == shape.get(path)
        for node in filter(_of_model, jax.tree.leaves(opt, is_leaf=_of_model))
        for path, x in named(node)
    )


def take(tree: Any, ids: Any):
    """Return the rows of each leaf."""
    return jax.tree.map(
        lambda x, i: x if i is ... else x.at[i].get(mode="fill", fill_value=0), tree, ids
    )


def put(tree: Any, ids: Any, rows: Any):
    """Return the tree with these rows in place of its own."""
    return jax.tree.map(
        lambda x, i, new: new if i is ... else x.at[i].set(new, mode="drop"), tree, ids, rows
    )
