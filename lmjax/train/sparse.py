"""The rows of large tables that one batch reads: taken out, trained, put back."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

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

    Where the optimiser keeps something for each parameter it does so in a `Params`. Ids are filled
    up to a fixed number with one that no table has.

    Args:
        parts: ids, repeated as they may be, for each part of a model; see `models.rows`.
        tree: any pytree with `Params` in it.
    """
    distinct = jax.tree.map(
        lambda i: i if i is ... else jnp.unique(i, size=i.size, fill_value=jnp.iinfo(i.dtype).max),
        parts,
    )
    of_model = lambda node: isinstance(node, Params)
    return jax.tree.map(
        lambda x: jax.tree.broadcast(distinct, x) if of_model(x) else ..., tree, is_leaf=of_model
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
