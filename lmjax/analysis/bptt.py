"""Backpropagation through time laid open: what each step adds to the gradient of the parameters."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from lmjax.analysis.arguments import encode_by_step
from lmjax.analysis.scaled import add, log_norm, rescale
from lmjax.analysis.trajectory import direct_gradients, step_loss, trajectory
from lmjax.analysis.vanishing import total_gradients
from lmjax.analysis.weights import pullback_log_norms
from lmjax.precision import full_precision
from lmjax.tree import combine, partition
from lmjax.unroll.residuals import by_dependence

__all__ = ["Contributions", "bptt_contributions"]


TOGETHER = 8  # steps whose contributions are measured together


class Contributions(NamedTuple):
    """The gradient of L = sum_t l_t as a sum over steps, dL/dtheta = sum_t g_t, leaf by leaf."""

    gradient: Any  # dL/dtheta, like the parameters
    log_norms: Any  # ln || g_t || of each leaf   [T]
    shares: Any  # <g_t, dL/dtheta> / ||dL/dtheta||^2 of each leaf   [T]; they sum to 1
    initial: Any  # dL/ds_0, like the state


@encode_by_step
@partial(jax.jit, static_argnames=("cell", "loss"))
@full_precision
def bptt_contributions(cell, params, state, xs, loss, ys, *, mask=None) -> Contributions:
    """Return the gradient of the parameters, and what each step contributes to it.

        dL/dtheta = sum_t g_t,    g_t = dL/dtheta |_(t):  theta as encode, step and loss use it at
        time t

    A share is the part of the gradient that a step accounts for: negative where the step pulls the
    other way. Memory is that of the gradient and the states: a g_t that is an outer product is
    never formed, another is reduced to its norm at once, and <g_t, G> is a forward derivative in
    direction G.

    Args:
        cell: the recurrence.
        params: its parameters; the loss may have parameters of its own among them, or share them
            (tied).
        state: s_0, one sequence or a batch.
        xs: inputs `[T, ...]` or `[T, B, ...]`.
        loss: `params, s_t, y_t -> l_t`, of one step; what it returns is summed. Static under jit.
        ys: targets of the loss, every leaf `[T, ...]`.
        mask: bool `[T]` or `[T, B]`; a padded step contributes nothing.

    Raises:
        ValueError: `encode` does not treat each step by itself.

    Returns:
        `Contributions`, each like the parameters, or the state, with None for an integer leaf. A
        leaf whose gradient is zero has shares of zero. The gradient is that for a given s_0; if it
        is learned, `jax.vjp(cell.initial_state, params)[1](initial)` is what comes through it.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda p, h, x: p["a"] * h + x)
    >>> last = lambda p, h, weight: weight * h                          # L = h_3 = a^2 + a + 1
    >>> params, weights = {"a": 0.5}, jnp.array([0.0, 0.0, 1.0])
    >>> sums = bptt_contributions(cell, params, jnp.zeros(()), jnp.ones(3), last, weights)
    >>> float(sums.gradient["a"]), sums.shares["a"].tolist()     # dL/da = a h_1 + h_2 = 0.5 + 1.5
    (2.0, [0.0, 0.25, 0.75])

    References: Werbos (1990); Assaf and Schumann (2019) for itemising the sum.
    """
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    losses = jnp.sum(losses, axis=range(1, losses.ndim))
    (at_start, start_exponent), (cts, exponents) = total_gradients(run, losses, direct)
    theta, theta_int = partition(params)
    of_t = (run.previous, run.states, xs, ys, mask)

    def made(theta, at_t):
        """The state that step t makes of s_{t-1} and x_t."""
        previous, _, x, _, valid = at_t
        params = combine(theta, theta_int)
        inputs = cell.encode(params, jax.tree.map(lambda leaf: leaf[None], x))
        inputs = jax.tree.map(lambda v: v[0], inputs)
        return partition(run.step(params, previous, inputs, valid))[0]

    def lost(theta, at_t):
        """The loss at t, as read from s_t."""
        _, state, _, y, valid = at_t
        return jnp.sum(step_loss(loss)(combine(theta, theta_int), state, y, valid))

    def both(theta):
        return jax.vmap(lambda at_t: (made(theta, at_t), lost(theta, at_t)))(of_t)

    of_first = jax.tree.map(lambda x: x[0], of_t)
    in_made, in_lost = (_reads(f, theta, of_first) for f in (made, lost))

    def log_norms(at_t):
        of_t, ct, exponent = at_t
        one, zero = jnp.ones((), losses.dtype), jnp.zeros_like(exponent)
        pull_made, pull_lost = (
            jax.vjp(lambda theta, f=f: f(theta, of_t), theta)[1] for f in (made, lost)
        )

        def norm(in_made, in_lost, of_made, of_lost, made, lost):
            if in_made and in_lost:
                return log_norm(*add(rescale(made, exponent), rescale(lost, zero)))
            return of_lost if in_lost else of_made

        norms = (
            pullback_log_norms(pull_made, ct, exponent)[0],
            pullback_log_norms(pull_lost, one, zero)[0],
        )
        return jax.tree.map(norm, in_made, in_lost, *norms, *pull_made(ct), *pull_lost(one))

    per_step = lambda x, like: x.reshape(-1, *[1] * (like.ndim - 1))
    power = lambda ct, exponent: jnp.ldexp(jnp.ones((), ct.dtype), exponent)
    plain = jax.tree.map(lambda ct: ct * per_step(power(ct, exponents), ct), cts)
    (gradient,) = jax.vjp(both, theta)[1]((plain, jnp.ones_like(losses)))
    leaves, tree = jax.tree.flatten(theta)

    def shares(k, direction):
        along = lambda leaf: both(jax.tree.unflatten(tree, [*leaves[:k], leaf, *leaves[k + 1 :]]))

        direction, exponent = rescale(direction, jnp.zeros((), jnp.int32))
        _, (states, losses) = jax.jvp(along, (leaves[k],), (direction,))
        inner = lambda a, b: jnp.sum((a * b).reshape(len(a), -1), axis=1)
        through_state = jax.tree.reduce(jnp.add, jax.tree.map(inner, cts, states))
        squared = jnp.sum(direction**2)
        scale = lambda e: power(direction, e - exponent)
        share = through_state * scale(exponents) + losses * scale(0)
        return jnp.where(squared == 0, 0, share / jnp.where(squared == 0, 1, squared))

    each = [shares(k, g) for k, g in enumerate(jax.tree.leaves(gradient))]
    return Contributions(
        gradient,
        lax.map(log_norms, (of_t, cts, exponents), batch_size=TOGETHER),
        jax.tree.unflatten(tree, each),
        jax.tree.map(lambda ct: ct * power(ct, start_exponent), at_start),
    )


def _reads(f, theta, of_first):
    """Which leaves a function of one step reads."""
    leaves, tree = jax.tree.flatten(theta)
    of_leaves = lambda *leaves: f(jax.tree.unflatten(tree, leaves), of_first)
    jaxpr = jax.make_jaxpr(of_leaves)(*leaves).jaxpr
    out = [v for v in jaxpr.outvars if isinstance(v, core.Var)]
    dependent = [by_dependence(jaxpr, [v])[2] for v in jaxpr.invars]
    return jax.tree.unflatten(tree, [not found.isdisjoint(out) for found in dependent])
