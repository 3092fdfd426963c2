"""One training step, compiled once: loss, gradient, update; the state carried on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lmjax.analysis import clip_by_global_norm
from lmjax.checks import check_above_zero, real, whole
from lmjax.data import Batch
from lmjax.models import LanguageModel, loss, rows
from lmjax.train import plateau
from lmjax.train.sparse import Rows, put, take, used
from lmjax.tree import combine, partition, where

__all__ = [
    "Metrics",
    "TrainState",
    "descend",
    "init_params",
    "init_state",
    "optimizer",
    "rewind",
    "step",
]


class TrainState(NamedTuple):
    """All that training carries from one step to the next."""

    params: Any  # those of other types than floating ones are kept as they are
    opt: Any  # state of the optax transformation
    carry: Any  # state of the cell after the last batch
    key: jax.Array  # raw key data, folded with the step for each step's randomness
    step: jax.Array  # []


class Metrics(NamedTuple):
    """What one step tells."""

    loss: jax.Array  # []  mean over the batch's tokens, nats
    norm: jax.Array  # []  global norm of the gradient before clipping


def optimizer(
    name: str = "adam",
    learning_rate: float = 2e-3,
    *,
    steps: int | None = None,
    plateau: float | None = None,
    max_norm: float = 1.0,
) -> optax.GradientTransformation:
    """Return gradient clipping by global norm followed by an optax optimiser.

    Args:
        name: "adam", "sgd", or "adagrad", whose sum of squares begins at 1 so that the first steps
            are none too long.
        learning_rate: of the first step.
        steps: decay it to 0 over that many steps along a cosine; None does not.
        plateau: multiply it by this after each epoch whose validation is no better than the best,
            see `fit`; None does not.
        max_norm: threshold of `analysis.clip_by_global_norm`.

    Raises:
        ValueError: the name is unknown, a number is out of range, or the rate is not finite.

    References: Kingma and Ba (2015), Adam; Duchi, Hazan and Singer (2011), Adagrad; Jozefowicz et
        al. (2016), who train large language models with it at a rate of 0.2, clipped at 1.
    """
    known = {
        "adagrad": partial(optax.adagrad, initial_accumulator_value=1.0),
        "adam": optax.adam,
        "sgd": optax.sgd,
    }
    if name not in known:
        raise ValueError(f"optimizer: must be one of {sorted(known)}, got {name!r}")
    check_above_zero(learning_rate=learning_rate)
    if steps is not None and whole("steps", steps) < 1:
        raise ValueError(
            "optimizer: steps of the decay (epochs x steps an epoch) must be at least 1, "
            f"got {steps}"
        )
    if plateau is not None and not 0 < real("plateau", plateau) < 1:
        raise ValueError(f"plateau: must be in (0, 1), got {plateau}")
    schedule = learning_rate if steps is None else optax.cosine_decay_schedule(learning_rate, steps)
    parts = [clip_by_global_norm(max_norm), known[name](schedule)]
    if plateau is not None:
        parts.append(optax.contrib.reduce_on_plateau(plateau, patience=1))
    return optax.chain(*parts)


# one program in place of forty
@partial(jax.jit, static_argnames=("lm", "transform", "batch_size"))
def init_state(
    lm: LanguageModel, transform: optax.GradientTransformation, key, batch_size: int, params=None
) -> TrainState:
    """Return the state before the first step: a cell that has read nothing, fresh parameters.

    With `params` it is a copy of these: `step` donates its own.
    """
    k_train = jax.random.fold_in(key, 1)
    params = init_params(lm, key) if params is None else jax.tree.map(jnp.copy, params)
    opt = transform.init(partition(params)[0])
    state = TrainState(params, opt, None, jax.random.key_data(k_train), jnp.zeros((), jnp.int32))
    return rewind(lm, state, batch_size)


def init_params(lm: LanguageModel, key):
    """Return the parameters that training with this key begins with."""
    return lm.init(jax.random.fold_in(key, 0))


def rewind(lm: LanguageModel, state: TrainState, batch_size: int) -> TrainState:
    """Return the state with a cell that has read nothing, in new buffers: `step` donates them."""
    fresh = lm.cell.initial_state(state.params.cell, (batch_size,))
    return state._replace(carry=jax.tree.map(jnp.copy, fresh))


@partial(jax.jit, static_argnames=("lm", "transform", "reset"), donate_argnames="state")
def step(
    lm: LanguageModel,
    transform: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    reset: float = 0.0,
) -> tuple[TrainState, Metrics]:
    """Take one step on the mean loss of a batch; the old state's memory is used for the new one.

    The cell's state comes from the batch before, and no gradient flows into it: truncated
    backpropagation through time over T steps. Each sequence begins anew with probability `reset`:
    else the model meets its initial state only at the few places where the sequences begin, and may
    learn to depend on what those made of it.

    The transformation is any of optax. One that asks for it gets the batch's loss as `value`, with
    `grad` and `value_fn`; for `optax.contrib.reduce_on_plateau` see `fit`.

    With a head that has `rows` only the rows of the embedding and of the head that the batch reads
    are touched, and so is the transformation's state: a word that does not occur keeps its moments
    and moves again when it does (PyTorch's SparseAdam does the same), and the cost does not grow
    with V. Plain SGD's is the step on all rows. A transformation that gathers gradients over steps
    (`optax.MultiSteps`), or whose state has no row for each of a parameter's, takes them all; so
    does every one with `lm.head._replace(rows=None)`.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    k_reset, k_loss = jax.random.split(key)
    anew = jax.random.bernoulli(k_reset, reset, batch.inputs.shape[1:])
    fresh = lm.cell.initial_state(state.params.cell, anew.shape)
    carry = where(anew, fresh, state.carry)

    whole = state.params, state.opt
    ids = used(rows(lm, batch.inputs, batch.targets, k_loss), whole)
    params, opt = take(whole, ids)
    params, fixed = partition(params)

    def mean_loss(params):
        params = combine(params, fixed)
        table = lambda x, i, whole: x if i is ... else Rows(x, i, len(whole))
        tables = jax.tree.map(table, params, ids[0], state.params)
        final, losses = loss(lm, tables, carry, batch.inputs, batch.targets, k_loss)
        return jnp.where(batch.mask, losses, 0).sum() / batch.mask.sum(), final

    params, opt, metrics, final = descend(transform, mean_loss, params, opt)
    params, opt = put(whole, ids, (combine(params, fixed), opt))
    return TrainState(params, opt, final, state.key, state.step + 1), metrics


def descend(transform: optax.GradientTransformation, loss: Callable, params, opt):
    """Take one step of a transformation; return `(params, opt, metrics, aux)`.

    Args:
        transform: see `step`.
        loss: floating params -> (mean loss, aux).
        params: the parameters.
        opt: the transformation's state.
    """
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    extra = {"value": value, "grad": gradient, "value_fn": lambda params: loss(params)[0]}
    update = optax.with_extra_args_support(transform).update
    updates, new = update(gradient, plateau.frozen(opt), params, **extra)
    watch = clip_by_global_norm(jnp.inf)  # the compiler finds its norm in that of a clip
    metrics = Metrics(value, watch.update(gradient, watch.init(gradient))[1].norm)
    return optax.apply_updates(params, updates), plateau.keep(opt, new), metrics, aux
