"""Learning rates that fall when the validation no longer gets better."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ReduceLROnPlateauState

__all__ = ["frozen", "keep", "tell", "watches"]


def _watches(node) -> bool:
    return isinstance(node, ReduceLROnPlateauState)


def watches(opt) -> bool:
    """Return whether a transformation's state holds that of `optax.contrib.reduce_on_plateau`."""
    return any(map(_watches, jax.tree.leaves(opt, is_leaf=_watches)))


def frozen(opt):
    """Return the state with every plateau cooling down, so that the step's loss moves no scale.

    `reduce_on_plateau` counts at every update. Its patience is meant in validations.
    """
    cool = lambda s: s._replace(cooldown_count=jnp.ones_like(s.cooldown_count))
    return jax.tree.map(lambda s: cool(s) if _watches(s) else s, opt, is_leaf=_watches)


def keep(plateaus, opt):
    """Return a state with the plateaus of another one."""
    return jax.tree.map(lambda s, t: s if _watches(s) else t, plateaus, opt, is_leaf=_watches)


@partial(jax.jit, static_argnames="transform")
def tell(transform: optax.GradientTransformation, params, opt, valid):
    """Return the state whose plateaus have seen one more validation."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    update = optax.with_extra_args_support(transform).update
    seen = update(zeros, opt, params, value=valid, grad=zeros, value_fn=lambda params: valid)[1]
    return keep(seen, opt)
