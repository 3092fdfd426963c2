"""Arguments of a diagnosis: brought to one form, or refused, before it is traced."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from reprlib import repr as brief

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.cell import passthrough
from lmjax.checks import check_positive, whole

__all__ = ["batch_of", "check_one_sequence", "counts", "encode_by_step", "settled", "steps"]


def settled(over: str, **kinds: Callable) -> Callable:
    """Bring arguments of a function to one form, where they are given.

    Args:
        over: name of the argument whose leaves are `[T, ...]`.
        **kinds: by the name of an argument, `name, value, T -> value`.

    >>> last = settled("xs", k=steps)(lambda xs, k=None: k)
    >>> last([1.0, 2.0]), last(jnp.ones(2), k=[0, 1]).tolist()
    (None, [0, 1])
    """

    def decorate(f: Callable) -> Callable:
        parameters = signature(f)

        @wraps(f)
        def with_settled(*args, **kwargs):
            bound = parameters.bind(*args, **kwargs)
            given, sizes = bound.arguments, [*map(np.shape, jax.tree.leaves(bound.arguments[over]))]
            length = sizes[0][0] if sizes and sizes[0] else 0
            for name, kind in kinds.items():
                if given.get(name) is not None:
                    given[name] = kind(f"{f.__name__}: {name}", given[name], length)
            return f(*bound.args, **bound.kwargs)

        return with_settled

    return decorate


def steps(name: str, value, length: int):
    """Return numbers of steps as an array, or refuse one that does not exist.

    >>> steps("map: targets", 3, 3)
    Traceback (most recent call last):
        ...
    ValueError: map: targets: must be steps in 0..2, got 3
    """
    if isinstance(value, jax.core.Tracer):
        return value
    ids = np.atleast_1d(value)
    inside = ids.dtype.kind in "iu" and ids.ndim == 1 and ids.size
    if not inside or ids.min() < 0 or ids.max() >= length:
        raise ValueError(f"{name}: must be steps in 0..{length - 1}, got {brief(value)}")
    return jnp.asarray(ids)


def counts(name: str, value, length: int) -> tuple[int, ...]:
    """Return numbers of at least 1 as a tuple.

    >>> counts("ks", [1, 2.5], 9)
    Traceback (most recent call last):
        ...
    ValueError: ks: must be a whole number, got 2.5
    """
    several = value if isinstance(value, list | tuple) else np.atleast_1d(value)
    numbers = tuple(whole(name, k) for k in several)
    if not numbers:
        raise ValueError(f"{name}: must hold at least 1 number, got {brief(value)}")
    for k in numbers:
        check_positive(**{name: k})
    return numbers


def encode_by_step(f: Callable) -> Callable:
    """Refuse a cell whose `encode` does not treat each step by itself, if values are known."""

    @wraps(f)
    def checked(cell, params, state, xs, *args, **kwargs):
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((params, xs)))
        if not traced and cell.encode is not passthrough and not _by_step(cell, params, xs):
            raise ValueError(
                f"{f.__name__}: cell: encode must treat each step by itself; it gives a step "
                "something else alone than among the others"
            )
        return f(cell, params, state, xs, *args, **kwargs)

    return checked


@partial(jax.jit, static_argnames="cell")
def _by_step(cell, params, xs):
    """Return whether each step alone is encoded as it is among the others."""
    one = lambda x: jax.tree.map(lambda v: v[0], cell.encode(params, x))
    alone = jax.vmap(one)(jax.tree.map(lambda x: x[:, None], xs))
    near = lambda a, b: jnp.isclose(a, b, 1e-3, 1e-3 * jnp.nanmax(jnp.abs(a)), equal_nan=True).all()
    return jnp.array(jax.tree.leaves(jax.tree.map(near, cell.encode(params, xs), alone))).all()


def batch_of(cell, params, state) -> tuple[int, ...] | None:
    """Return the axes that a state has before those of one sequence; None if that is not known."""
    if cell.initial_state is None:
        return None
    given, one = (jax.tree.leaves(x) for x in (state, jax.eval_shape(cell.initial_state, params)))
    return np.shape(given[0])[: np.ndim(given[0]) - one[0].ndim] if given and one else None


def check_one_sequence(name: str, cell, params, state) -> None:
    """Refuse a batch: its sequences would be taken for parts of one state."""
    batch = batch_of(cell, params, state)
    if batch:
        raise ValueError(
            f"{name}: state must be of one sequence, got a batch {list(batch)}; "
            "use jax.vmap over states and inputs"
        )
