"""Learning rates that end with the time that a training has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

__all__ = ["advance"]


def advance(opt, step: int):
    """Return the state of a transformation with every schedule at this step.

    These are the schedules of optax's optimisers, `optax.scale_by_schedule`. One within
    `optax.MultiSteps` counts fewer steps and is left as it is.

    >>> opt = optax.adam(optax.cosine_decay_schedule(0.1, 100))
    >>> state = opt.init(jnp.ones(2))
    >>> advance(state, 70)[1], state[0] == advance(state, 70)[0]
    (ScaleByScheduleState(count=Array(70, dtype=int32)), True)
    """
    scheduled = lambda node: isinstance(node, optax.ScaleByScheduleState)
    whole = lambda node: scheduled(node) or isinstance(node, optax.MultiStepsState)
    at = lambda s: s._replace(count=jnp.asarray(step, s.count.dtype))
    return jax.tree.map(lambda s: at(s) if scheduled(s) else s, opt, is_leaf=whole)
