"""Vanishing gradients: the norms of dL/ds_t along a sequence, and of dJ_i/ds_j for all i and j."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.analysis.arguments import check_one_sequence, settled, steps
from lmjax.analysis.scaled import add, log_norm, log_norm_of_rescaled, rescale
from lmjax.analysis.trajectory import Trajectory, direct_gradients, trajectory
from lmjax.analysis.weights import pullback_log_norms
from lmjax.cell import is_w_h, recurrent_weights
from lmjax.precision import full_precision

__all__ = [
    "GradientBand",
    "GradientMap",
    "StateGradients",
    "bidirectional_gradient_maps",
    "input_gradient_map",
    "recurrent_contribution_map",
    "state_gradient_band",
    "state_gradient_map",
    "state_gradients",
]

BLOCK = 32  # steps after which the stack of gradients grows, at most 8 times


class StateGradients(NamedTuple):
    """The profile of dL/ds_t; `[T]`, or `[T, B]` where the loss gives one number a sequence."""

    losses: jax.Array  # l_t
    log_total: jax.Array  # ln || dL/ds_t ||: through s_t's own loss and through all later states
    log_direct: jax.Array  # ln || dl_t/ds_t ||: through its own loss alone
    log_initial: jax.Array  # ln || dL/ds_0 ||   [] or [B]


@partial(jax.jit, static_argnames=("cell", "loss"))
@full_precision
def state_gradients(cell, params, state, xs, loss, ys, *, mask=None) -> StateGradients:
    """Return the norm of the loss's gradient at every state, L = sum_t loss(params, s_t, y_t).

        dL/ds_{t-1} = J_t^T dL/ds_t + dl_{t-1}/ds_{t-1}

    The gradient keeps an integer exponent of its own, so that a norm of e^-1000 is reported as
    such.

    Args:
        cell: the recurrence.
        params: the cell's parameters.
        state: s_0, one sequence or a batch.
        xs: inputs `[T, ...]` or `[T, B, ...]`.
        loss: `params, s_t, y_t -> l_t`, of one step; a scalar, or `[B]`, one number a sequence,
            which then keeps the norms of the sequences apart. Static under jit.
        ys: targets, every leaf `[T, ...]`.
        mask: bool `[T]` or `[T, B]`; a padded step has no loss and passes the gradient on
            unchanged.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> last_only = lambda a, h, weight: weight * h
    >>> weights = jnp.array([0.0, 0.0, 1.0])
    >>> flow = state_gradients(cell, 0.5, jnp.zeros(()), jnp.ones(3), last_only, weights)
    >>> [round(x, 4) for x in jnp.exp(flow.log_total).tolist()]
    [0.25, 0.5, 1.0]
    """
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    (initial, initial_exponent), (total, exponents) = total_gradients(run, losses, direct)
    batch = losses.ndim
    return StateGradients(
        losses,
        log_norm_of_rescaled(total, exponents, batch),
        log_norm(direct, batch=batch),
        log_norm_of_rescaled(initial, initial_exponent, batch - 1),
    )


def total_gradients(run: Trajectory, losses, direct):
    """Return dL/ds_0, and dL/ds_t for every t, as pairs of mantissas and exponents."""
    batch = losses.ndim - 1
    zero = jnp.zeros(losses.shape[1:], jnp.int32)

    def body(later, at_t):
        step, direct = at_t
        ct, exponent = rescale(*add(later, rescale(direct, zero, batch)), batch)
        return rescale(run.pullback(step)(ct)[1], exponent, batch), (ct, exponent)

    nothing = rescale(jax.tree.map(lambda d: jnp.zeros_like(d[0]), direct), zero, batch)
    return lax.scan(body, nothing, (run.steps, direct), reverse=True)


# --- each loss by itself --------------------------------------------------------------------------


class GradientMap(NamedTuple):
    """The gradient of every chosen loss at every step; `[B]` follows for one loss a sequence."""

    losses: jax.Array  # l_i   [T]
    targets: jax.Array  # the steps i of the rows   [R]
    log_norm: jax.Array  # [R, T]  row i, column j;  -inf where j > i, which has no part in l_i
    log_initial: jax.Array  # ln || dJ_i/ds_0 ||   [R]

    @property
    def log_relative(self) -> jax.Array:
        """Relative to the diagonal, ln ||g_ij|| / ||g_ii||: a small loss does not mislead."""
        diagonal = self.log_norm[jnp.arange(len(self.targets)), self.targets]
        return _relative(self.log_norm, diagonal[:, None])


class GradientBand(NamedTuple):
    """The gradient of every loss at the steps just before it."""

    losses: jax.Array  # l_i   [T]
    log_norm: jax.Array  # [T, max_lag + 1]  row j, column i - j;  NaN where i > T

    @property
    def log_relative(self) -> jax.Array:
        """The same relative to lag 0 of the same loss, ln ||g_ij|| / ||g_ii||."""
        length, lags = self.log_norm.shape[:2]
        target = jnp.minimum(jnp.arange(length)[:, None] + jnp.arange(lags), length - 1)
        return _relative(self.log_norm, self.log_norm[target, 0])


def _relative(log, reference):
    """ln(x / y), with 0 / 0 = 0: where nothing leaves the loss, nothing arrives."""
    return jnp.where(log == -jnp.inf, log, log - reference)


@settled("xs", targets=steps)
@partial(jax.jit, static_argnames=("cell", "loss"))
@full_precision
def state_gradient_map(
    cell, params, state, xs, loss, ys, *, targets=None, mask=None
) -> GradientMap:
    """Return the norm of every loss's gradient at every state.

        || dJ_i/dh_j ||,    dJ_i/dh_{j-1} = J_j^T dJ_i/dh_j  for every i >= j at once,
        J_i = loss(params, s_i, y_i)

    No Jacobian is formed: one sweep back over the steps carries the gradients of all losses from
    there on, each with an integer exponent of its own. Memory T S + T^2; cost T^2 / 2
    vector-Jacobian products, taken together as matrix products.

    Args:
        cell: the recurrence.
        params: the cell's parameters.
        state: s_0.
        xs: inputs `[T, ...]`.
        loss: `params, s_t, y_t -> l_t`, as for `state_gradients`. Static under jit.
        ys: targets of the loss, every leaf `[T, ...]`.
        targets: the steps i whose losses are followed, `[R]` in 0..T - 1; default all. A few random
            ones cost R T products, little enough for use during training.
        mask: bool `[T]` or `[T, B]`, as for `state_gradients`.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> own = lambda a, h, y: h
    >>> flow = state_gradient_map(cell, 0.5, jnp.zeros(()), jnp.ones(3), own, jnp.zeros(3))
    >>> jnp.exp(flow.log_norm).round(4).tolist()
    [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [0.25, 0.5, 1.0]]

    References: Pascanu, Mikolov and Bengio (2013), equation 5, for the terms.
    """
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    return GradientMap(losses, *_sweep(run, losses, direct, targets, _state_norms))


@settled("xs", targets=steps)
@partial(jax.jit, static_argnames=("cell", "loss"))
@full_precision
def input_gradient_map(
    cell, params, state, xs, loss, ys, *, targets=None, mask=None
) -> GradientMap:
    """Return the norm of every loss's gradient at every input, || dJ_i/dinput_j ||.

    The inputs are those that `step` is given, `encode(params, xs)`: token ids have no derivative.
    For the gradient with respect to `xs` themselves, put `encode` into the step:
    `cell._replace(encode=passthrough, step=lambda p, s, x: cell.step(p, s, cell.encode(p, x)))`.

    Arguments and cost as for `state_gradient_map`.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + 3 * x)
    >>> own = lambda a, h, y: h
    >>> flow = input_gradient_map(cell, 0.5, jnp.zeros(()), jnp.ones(2), own, jnp.zeros(2))
    >>> jnp.exp(flow.log_norm).round(4).tolist()
    [[3.0, 0.0], [1.5, 3.0]]

    References: Madsen (2019); Verwimp, Van hamme, Renkens and Wambacq (2018).
    """
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    return GradientMap(losses, *_sweep(run, losses, direct, targets, _input_norms))


@settled("xs", targets=steps)
@partial(jax.jit, static_argnames=("cell", "loss", "named"))
@full_precision
def recurrent_contribution_map(
    cell, params, state, xs, loss, ys, *, targets=None, mask=None, named=is_w_h
) -> dict[str, GradientMap]:
    """Return what every step adds to every loss's gradient in the recurrent weights.

        dJ_i/dW_h = sum_{j <= i} dJ_i/dW_h |_(j)        the norm of each term, [i, j]

    Each term is reduced to its norm as soon as it exists. What the loss itself reads of W_h is not
    counted. Arguments as for `state_gradient_map`; of one sequence.

    Returns:
        One map for each recurrent matrix, by path: `named` and they as for
        `lmjax.cell.recurrent_weights`.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda p, h, x: p["w_h"] * h + x)
    >>> run = (cell, {"w_h": 0.5}, jnp.zeros(()), jnp.ones(3), lambda p, h, y: h, jnp.zeros(3))
    >>> terms = recurrent_contribution_map(*run)["w_h"]
    >>> jnp.exp(terms.log_norm).round(4).tolist()     # a^(i - j) h_{j - 1}
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.5]]
    """
    check_one_sequence("recurrent_contribution_map", cell, params, state)
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    if losses.ndim > 1:
        raise ValueError(
            "recurrent_contribution_map: loss must be a scalar a step, "
            f"got shape {losses.shape[1:]}"
        )
    measure = partial(_recurrent_norms, named)
    targets, logs, initial = _sweep(run, losses, direct, targets, measure)
    return {name: GradientMap(losses, targets, log, initial) for name, log in logs.items()}


@partial(jax.jit, static_argnames=("cell", "loss", "max_lag"))
@full_precision
def state_gradient_band(
    cell, params, state, xs, loss, ys, *, max_lag: int, mask=None
) -> GradientBand:
    """Return the norm of every loss's gradient at the `max_lag` states before it, by state and lag.

        || dJ_{j+l}/dh_j ||,    l = 0..max_lag

    The sweep carries a ring of max_lag + 1 gradients: T (max_lag + 1) vector-Jacobian products,
    memory (T + S) max_lag. Other arguments as for `state_gradient_map`.

    Raises:
        ValueError: `max_lag` is negative.

    >>> from lmjax.cell import Cell
    >>> cell = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)
    >>> run = (cell, 0.5, jnp.zeros(()), jnp.ones(3), lambda a, h, y: h, jnp.zeros(3))
    >>> jnp.exp(state_gradient_band(*run, max_lag=1).log_norm).round(4).tolist()
    [[1.0, 0.5], [1.0, 0.5], [1.0, nan]]
    """
    if max_lag < 0:
        raise ValueError(f"state_gradient_band: max_lag must be at least 0, got {max_lag}")
    run = trajectory(cell, params, state, xs, mask)
    losses, direct = direct_gradients(loss, params, run.states, ys, mask, run.batch)
    batch, size, length = losses.ndim, max_lag + 1, len(losses)

    def body(ring, at_t):
        t, step, direct = at_t
        cts, exponents = ring
        cts = jax.tree.map(lambda g, d: g.at[t % size].set(d), cts, direct)
        cts, exponents = rescale(cts, exponents.at[t % size].set(0), batch)
        by_lag = jnp.roll(log_norm_of_rescaled(cts, exponents, batch), -(t % size), axis=0)
        return (jax.vmap(lambda ct: run.pullback(step)(ct)[1])(cts), exponents), by_lag

    ring = jax.tree.map(lambda d: jnp.zeros((size, *d.shape[1:]), d.dtype), direct)
    first = (ring, jnp.zeros((size, *losses.shape[1:]), jnp.int32))
    _, log = lax.scan(body, first, (jnp.arange(length), run.steps, direct), reverse=True)
    inside = jnp.arange(length)[:, None] + jnp.arange(size) < length
    return GradientBand(
        losses, jnp.where(inside.reshape(*inside.shape, *[1] * (batch - 1)), log, jnp.nan)
    )


@settled("xs", targets=steps)
def bidirectional_gradient_maps(
    forward, backward, params, xs, loss, ys, *, targets=None, mask=None
) -> tuple[GradientMap, GradientMap]:
    """Return the gradient maps of a bidirectional encoder, of its forward and its backward states.

    Loss i reaches the forward states j <= i and the backward states j >= i. Arguments as for
    `lmjax.cells.bidirectional` and `state_gradient_map`; both cells begin at their `start`.

    Args:
        forward: the cell that runs from t = 1 to T.
        backward: the cell that runs from t = T to 1.
        params: pair of the two cells' parameters.
        xs: inputs `[T, ...]`.
        loss: `params, (forward state, backward state), y -> l_t`.
        ys: targets of the loss, every leaf `[T, ...]`.
        targets: the steps i whose losses are followed, default all.
        mask: bool `[T]`.

    >>> from lmjax.cells import rnn
    >>> cell = rnn(2, 3)
    >>> params = cell.init(jax.random.key(0)), cell.init(jax.random.key(1))
    >>> loss = lambda params, states, y: (states[0] * states[1]).sum()
    >>> maps = bidirectional_gradient_maps(cell, cell, params, jnp.ones((4, 2)), loss, jnp.zeros(4))
    >>> [jnp.isfinite(m.log_norm).sum(1).tolist() for m in maps]
    [[1, 2, 3, 4], [4, 3, 2, 1]]
    """
    flip = lambda tree: jax.tree.map(lambda x: x[::-1], tree)
    ahead = trajectory(forward, params[0], forward.initial_state(params[0]), xs, mask)
    back = trajectory(backward, params[1], backward.initial_state(params[1]), flip(xs), flip(mask))
    losses, direct = direct_gradients(
        loss, params, (ahead.states, flip(back.states)), ys, mask, ahead.batch
    )
    mirrored = None if targets is None else len(losses) - 1 - jnp.asarray(targets)
    targets, *to_forward = _sweep(ahead, losses, direct[0], targets, _state_norms)
    _, *to_backward = _sweep(back, losses, flip(direct[1]), mirrored, _state_norms)
    log, initial = to_backward if mirrored is not None else flip(to_backward)
    maps = to_forward, (log[:, ::-1], initial)
    return GradientMap(losses, targets, *maps[0]), GradientMap(losses, targets, *maps[1])


def _state_norms(pull, cts, exponents):
    return log_norm_of_rescaled(cts, exponents, exponents.ndim)


def _input_norms(pull, cts, exponents):
    return log_norm(jax.vmap(lambda ct: pull(ct)[2])(cts), exponents, exponents.ndim)


def _recurrent_norms(named, pull, cts, exponents):
    norms = lambda row: recurrent_weights(pullback_log_norms(pull, *row)[0], named)
    return lax.map(norms, (cts, exponents), batch_size=8)  # one may be of the size of the matrix


def _sweep(run: Trajectory, losses, direct, targets, measure):
    """Carry the gradients of the target losses back over all steps, and measure them at each.

    For all losses the stack of gradients grows: it has rows for the losses of a block only from
    that block on, which saves almost half of the work of a stack of T rows.

    Returns:
        `(targets [R], measures [R, T, ...], ln || dJ_i/ds_0 || [R, ...])`.
    """
    length = len(losses)
    blocks = min(8, -(-length // BLOCK)) if targets is None else 1
    targets = jnp.arange(length) if targets is None else jnp.asarray(targets)
    edges = [k * length // blocks for k in range(blocks + 1)]
    stack = jax.tree.map(lambda x: x[:0], (direct, jnp.zeros(losses.shape, jnp.int32)))
    columns: list = []
    for a, b in reversed(list(pairwise(edges))):
        rows = targets[a:] if blocks > 1 else targets
        stack = jax.tree.map(partial(_lengthen, count=len(rows), axis=0, value=0), stack)
        block = jax.tree.map(lambda x, a=a, b=b: x[a:b], (jnp.arange(length), run.steps, direct))
        stack, log = lax.scan(partial(_sweep_step, run, rows, measure), stack, block, reverse=True)
        columns.insert(
            0, jax.tree.map(partial(_lengthen, count=len(targets), axis=1, value=-jnp.inf), log)
        )
    joined = lambda *parts: jnp.swapaxes(jnp.concatenate(parts), 0, 1)
    cts, exponents = stack
    return targets, jax.tree.map(joined, *columns), log_norm(cts, exponents, losses.ndim)


def _lengthen(x, count, axis, value):
    """Put `value` before an axis, to the length `count`."""
    return jnp.pad(
        x,
        [(count - n if k == axis else 0, 0) for k, n in enumerate(x.shape)],
        constant_values=value,
    )


def _sweep_step(run, rows, measure, stack, at_t):
    """Take a stack of gradients at s_t, and the loss at t where it is one of theirs, to s_{t-1}."""
    (cts, exponents), (t, step, direct) = stack, at_t
    enters = rows == t
    here = lambda x: enters.reshape(enters.shape + (1,) * (x.ndim - 1))
    cts = jax.tree.map(lambda g, d: jnp.where(here(g), d, g), cts, direct)
    cts, exponents = rescale(cts, jnp.where(here(exponents), 0, exponents), exponents.ndim)
    pull = run.pullback(step)
    return (jax.vmap(lambda ct: pull(ct)[1])(cts), exponents), measure(pull, cts, exponents)
