"""Fixed points of a cell whose input is held constant, and the points where it hardly moves."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from lmjax.checks import check_above_zero, check_positive, whole
from lmjax.precision import full_precision
from lmjax.tree import combine, partition

__all__ = ["FixedPoints", "fixed_points"]

MATRICES = 2**25  # entries of the Jacobians that are in memory together, at most


class FixedPoints(NamedTuple):
    """M distinct states s with step(s) = s, or nearly so; of each input the slowest first."""

    inputs: np.ndarray  # [M]  number of the input that is held
    states: Any  # s, each leaf [M, ...]
    speeds: np.ndarray  # [M]  || step(s) - s ||
    starts: np.ndarray  # [M]  how many searches ended there
    jacobians: np.ndarray  # [M, S, S]  J = d step(s)/ds

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of the Jacobians `[M, S]`, complex, the largest modulus first."""
        values = np.linalg.eigvals(self.jacobians)
        return np.take_along_axis(values, np.argsort(-np.abs(values), axis=1), axis=1)

    @property
    def stable(self) -> np.ndarray:
        """Whether the cell comes back after a small push, `[M]`: all |lambda| < 1."""
        return np.abs(self.eigenvalues[:, 0]) < 1

    @property
    def time_constants(self) -> np.ndarray:
        """Steps in which a push along an eigenvector falls, or grows, by e: 1 / |ln |lambda||."""
        with np.errstate(divide="ignore"):
            return 1 / np.abs(np.log(np.abs(self.eigenvalues)))


def fixed_points(
    cell,
    params,
    xs,
    starts,
    *,
    max_speed: float = 1e-3,
    apart: float = 1e-3,
    steps: int = 100,
    settle: int = 0,
) -> FixedPoints:
    """Search for the states at which a cell stays while its input does not change.

        minimise over s   || step(params, s, encode(params, x)) - s ||^2

    From each start by the Levenberg-Marquardt method: Newton's near a solution, and a short step
    downhill far from it, so that it also ends in points where the cell is slow without a fixed
    point. Ends that are faster than `max_speed` are left out, and of those close together the
    slowest is kept. Good starts are states that the cell runs through, and these plus noise. An
    integer leaf of the state stays as it is given.

    Args:
        cell: the recurrence.
        params: its parameters.
        xs: inputs `[R, ...]`, each held in a search of its own from all starts.
        starts: states, each leaf `[N, ...]`.
        max_speed: largest || step(s) - s || of a point.
        apart: points are distinct where they differ by more than this times 1 + ||s||.
        steps: of a search, at most; it ends before where the speed is below a float's rounding.
        settle: steps that the cell takes by itself before each search. After many it is near a
            stable point, if it comes to rest at all; without them unstable points are found too.

    Returns:
        `FixedPoints`, M = 0 of them if there are none. The cost is R N `steps` Jacobians and linear
        systems of size S at most; memory M S^2.

    Raises:
        ValueError: a number is not positive, or `settle` is negative.

    >>> from lmjax.cells import rnn
    >>> cell = rnn(1, 1)
    >>> params = cell.init(jax.random.key(0))._replace(w_h=jnp.array([[2.0]]), b=jnp.zeros(1))
    >>> points = fixed_points(cell, params, jnp.zeros((1, 1)), jnp.array([[-1.0], [0.1], [0.7]]))
    >>> order = points.states.ravel().argsort()
    >>> [round(float(h), 4) for h in points.states.ravel()[order]]      # h = tanh(2 h)
    [-0.9575, 0.0, 0.9575]
    >>> points.stable[order].tolist()
    [True, False, True]

    References: Sussillo and Barak (2013); Golub and Sussillo (2018); Levenberg (1944); Marquardt
    (1963).
    """
    check_positive(steps=steps)
    if whole("settle", settle) < 0:
        raise ValueError(f"settle: must be at least 0, got {settle}")
    check_above_zero(max_speed=max_speed, apart=apart)
    found, speeds = _ends(cell, params, xs, starts, steps=steps, settle=settle)
    floats = jax.tree.leaves(partition(found)[0])
    flat = np.concatenate([np.reshape(leaf, (*speeds.shape, -1)) for leaf in floats], axis=-1)
    kept = [
        (r, n, count)
        for r, (ends, speed) in enumerate(zip(flat, np.asarray(speeds), strict=True))
        for n, count in _distinct(ends, speed, max_speed, apart)
    ]
    r, n, count = np.array(kept, int).reshape(-1, 3).T
    states = jax.tree.map(lambda leaf: leaf[r, n], found)
    points = jax.tree.map(lambda leaf: jnp.asarray(leaf)[r], xs), states
    jacobians = np.asarray(_jacobians(cell, params, *points))
    states = jax.tree.map(np.asarray, states)
    return FixedPoints(r, states, np.asarray(speeds)[r, n], count, jacobians)


def _distinct(ends, speeds, max_speed: float, apart: float):
    """Yield the number of each distinct end, and how many ends are where it is."""
    left = [n for n in np.argsort(speeds) if speeds[n] <= max_speed]  # not those that are NaN
    while left:
        first = ends[left[0]]
        near = np.linalg.norm(ends[left] - first, axis=1) <= apart * (1 + np.linalg.norm(first))
        yield left[0], near.sum()
        left = [n for n, same in zip(left, near, strict=True) if not same]


@partial(jax.jit, static_argnames="cell")
@full_precision
def _ends(cell, params, xs, starts, *, steps, settle):
    """Return the ends of all searches, each leaf `[R, N, ...]`, and their speeds `[R, N]`."""

    def search(x, state):
        start, unravel, motion = _motion(cell, params, x, state)
        start = lax.fori_loop(0, settle, lambda _, s: s + motion(s), start)
        end, speed = _least(motion, start, steps)
        return unravel(end), speed

    count, size = len(jax.tree.leaves(starts)[0]), _size(starts)
    together = max(1, MATRICES // (count * size**2))
    of_input = lambda x: jax.vmap(search, (None, 0))(x, starts)
    return lax.map(of_input, cell.encode(params, xs), batch_size=together)


@partial(jax.jit, static_argnames="cell")
@full_precision
def _jacobians(cell, params, xs, states):
    """Return d step(s)/ds at every point, `[M, S, S]`."""

    def jacobian(at):
        start, _, motion = _motion(cell, params, *at)
        return jax.jacfwd(motion)(start) + jnp.eye(len(start), dtype=start.dtype)

    together = max(1, MATRICES // _size(states) ** 2)
    return lax.map(jacobian, (cell.encode(params, xs), states), batch_size=together)


def _motion(cell, params, x, state):
    """Return a state's floats as one vector s, the way back, and s -> step(s) - s."""
    floats, others = partition(state)
    start, to_floats = ravel_pytree(floats)
    unravel = lambda s: combine(to_floats(s), others)
    step = lambda s: ravel_pytree(partition(cell.step(params, unravel(s), x))[0])[0]
    return start, unravel, lambda s: step(s) - s


def _size(states) -> int:
    """Return S, the numbers of one state, of states `[N, ...]`."""
    shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(partition(states)[0])]
    return max(1, sum(map(math.prod, shapes)))


def _least(f, start, steps):
    """Return where ||f|| is least near a start, and that norm, by Levenberg and Marquardt."""
    size, eps = len(start), jnp.finfo(start.dtype).eps

    def body(carry):
        k, s, value, damping = carry
        a = jax.jacfwd(f)(s)
        normal = a.T @ a + damping * jnp.eye(size, dtype=s.dtype)
        new = s - jax.scipy.linalg.solve(normal, a.T @ value, assume_a="pos")
        new_value = f(new)
        better = jnp.linalg.norm(new_value) < jnp.linalg.norm(value)  # not if it is NaN
        damping = jnp.clip(jnp.where(better, damping / 10, damping * 10), eps**2, 1 / eps)
        s, value = (jnp.where(better, a, b) for a, b in ((new, s), (new_value, value)))
        return k + 1, s, value, damping

    def moves(carry):
        k, s, value, _ = carry
        return (k < steps) & (jnp.linalg.norm(value) > eps * (1 + jnp.linalg.norm(s)))

    first = jnp.zeros((), int), start, f(start), jnp.ones((), start.dtype)
    _, s, value, _ = lax.while_loop(moves, body, first)
    return s, jnp.linalg.norm(value)
