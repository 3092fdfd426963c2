"""Diagnostics during training: every k-th step, inside the compiled step, in fixed shapes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.checks import whole

__all__ = ["Monitor", "MonitorState", "monitor"]


class MonitorState(NamedTuple):
    """The last values a monitor has taken."""

    calls: jax.Array  # []  how often `update` was called
    taken: jax.Array  # []  the call, from 0 on, at which `values` were taken; -1 before any
    values: dict[str, Any]  # by name; zeros before the first


class Monitor(NamedTuple):
    """A pair of pure functions, as an optax transformation is."""

    init: Callable  # *args (arrays or their shapes) -> MonitorState
    update: Callable  # state, *args -> MonitorState


def monitor(diagnostics: Mapping[str, Callable], *, every: int) -> Monitor:
    """Return a monitor that evaluates diagnostics at every k-th call and keeps the last values.

    The other calls cost a comparison: `lax.cond` does not evaluate the branch it does not take
    (under `vmap` it does, so map the values, not the monitor). Put the state into the carry of the
    training scan, or beside the optimiser's, and read `values` whenever `taken` has moved.

    Args:
        diagnostics: functions by name, each given what `update` is given, e.g. `(params, state,
            batch)`; each returns a pytree of arrays whose shapes depend on its arguments' shapes
            alone.
        every: k; the first call is evaluated, then every k-th.

    Returns:
        A `Monitor`.

    Raises:
        ValueError: `every` is not at least 1, or no diagnostic is given.

    >>> watch = monitor({"norm": jnp.linalg.norm}, every=2)
    >>> _, norms = lax.scan(
    ...     lambda state, x: (new := watch.update(state, x), new.values["norm"]),
    ...     watch.init(jnp.zeros(1)),
    ...     jnp.arange(4.0)[:, None] + 1,
    ... )
    >>> norms.tolist()
    [1.0, 1.0, 3.0, 3.0]
    """
    if whole("every", every) < 1 or not diagnostics:
        raise ValueError(
            "monitor: every must be at least 1 and diagnostics not empty, "
            f"got {every=}, {diagnostics=}"
        )
    diagnostics = dict(diagnostics)

    def take(*args):
        return {name: diagnose(*args) for name, diagnose in diagnostics.items()}

    def init(*args) -> MonitorState:
        values = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(take, *args))
        return MonitorState(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32), values)

    def update(state: MonitorState, *args) -> MonitorState:
        due = state.calls % every == 0
        values = lax.cond(
            due, lambda old, *args: take(*args), lambda old, *args: old, state.values, *args
        )
        return MonitorState(state.calls + 1, jnp.where(due, state.calls, state.taken), values)

    return Monitor(init, update)
