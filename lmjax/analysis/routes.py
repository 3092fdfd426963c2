"""The routes of a gradient through a state of several parts, such as the h and c of an LSTM."""

from __future__ import annotations

import jax
from jax import lax

from lmjax.cell import Cell
from lmjax.factory import factory

__all__ = ["detach"]


@factory
def detach(cell: Cell, *names: str) -> Cell:
    """Return the same cell, with no gradient through the named parts of s_{t-1}.

    Any diagnosis of the detached cell then shows the paths that are left. For an LSTM,
    `detach(cell, "h")` leaves the path through c, dc_t/dc_{t-1} = diag(f_t), and `detach(cell,
    "c")` the path through h. That the first one carries the gradient is an assumption to be
    measured, not a property of the LSTM.

    Args:
        cell: the recurrence; in a stack the names apply to every layer.
        names: fields or keys of the state.

    Raises:
        ValueError: when it runs, if the state has no leaf of one of the names.

    >>> import jax.numpy as jnp
    >>> from lmjax import analysis, cells
    >>> cell = cells.lstm(2, 1)
    >>> params = cell.init(jax.random.key(0))
    >>> state, xs = cell.initial_state(params), jnp.ones((1, 2))
    >>> jacobian = analysis.step_jacobians(detach(cell, "h"), params, state, xs)[0]
    >>> jacobian[:, 0].tolist()                        # the state is (h, c): nothing comes from h
    [0.0, 0.0]

    References: Arpit, Kanuparthi, Kerg, Ke, Mitliagkas and Bengio (2019), h-detach.
    """
    name = lambda path: jax.tree_util.keystr(path[-1:], simple=True)

    def step(params, state, x):
        found = {name(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)}
        if not found.issuperset(names):
            raise ValueError(f"detach: the state has the leaves {sorted(found)}, got {names}")
        cut = lambda path, leaf: lax.stop_gradient(leaf) if name(path) in names else leaf
        return cell.step(params, jax.tree_util.tree_map_with_path(cut, state), x)

    return cell._replace(step=step, layers=())
