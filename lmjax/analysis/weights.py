"""Norms of the gradients of weight matrices, which for a single step are mostly outer products."""

from __future__ import annotations

import math
from functools import reduce

import jax
import jax.numpy as jnp
from jax.extend import core

from lmjax.analysis.scaled import log_norm

__all__ = ["pullback_log_norms"]


def pullback_log_norms(pull, ct, exponent):
    """Return ln || leaf 2^exponent || for every leaf of `pull(ct)`, as a tree like it.

    What one step of one sequence adds to dL/dW is an outer product v^T d: its norm ||v|| ||d|| is
    taken without forming it. Such products are found in the pullback itself, whatever cell it is
    of; a leaf that is made in another way is formed and measured.
    """
    closed, shapes = jax.make_jaxpr(pull, return_shape=True)(ct)
    producers = {v: equation for equation in closed.jaxpr.eqns for v in equation.outvars}
    sums = [_factors(v, producers) for v in closed.jaxpr.outvars]
    needed = list(
        dict.fromkeys(v for terms in sums for factors in terms for v in factors if _variable(v))
    )
    jaxpr = closed.jaxpr.replace(outvars=needed)
    out = core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, closed.consts))(*jax.tree.leaves(ct))
    values = dict(zip(needed, out, strict=True))
    log = lambda v: log_norm(values[v] if _variable(v) else jnp.asarray(v.val))
    logs = [
        reduce(jnp.logaddexp, [2 * sum(map(log, factors)) for factors in terms]) / 2
        for terms in sums
    ]
    shift = jnp.asarray(exponent * jnp.log(jnp.asarray(2, logs[0].dtype)))
    return jax.tree.unflatten(jax.tree.structure(shapes), [x + shift for x in logs])


def _factors(v, producers):
    """Write ||v||^2 as a sum of products of squared norms: `[(a, b), (c,), ...]`."""
    equation = producers.get(v) if _variable(v) else None
    name = equation.primitive.name if equation else None
    if name in ("transpose", "reshape", "neg", "squeeze"):
        return _factors(equation.invars[0], producers)
    if name == "concatenate":
        return [factors for part in equation.invars for factors in _factors(part, producers)]
    if name == "dot_general":
        (contracted, _), (batch, _) = equation.params["dimension_numbers"]
        a, b = equation.invars
        if not batch and math.prod(a.aval.shape[d] for d in contracted) == 1:
            return [(a, b)]
    return [(v,)]


def _variable(v):
    return isinstance(v, core.Var)
