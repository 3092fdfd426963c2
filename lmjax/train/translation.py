"""Training of a translator on pairs of sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmjax.checks import check_positive
from lmjax.data.parallel import IdPairs, PairBatch, batch_count, bucket_lengths, bucketed
from lmjax.models.translation import Translator, log_prob, loss
from lmjax.precision import full_precision
from lmjax.train.job import Job, Run, run_job
from lmjax.train.step import Metrics, TrainState, descend, optimizer

__all__ = ["fit_translator", "pair_perplexity"]


def fit_translator(
    model: Translator,
    train: IdPairs,
    valid: IdPairs,
    key,
    *,
    epochs: int = 10,
    tokens: int = 2000,
    buckets: int = 4,
    transform: optax.GradientTransformation | None = None,
    **options: Any,
) -> Run:
    """Train a translator and return the parameters of the best validation perplexity.

    Each epoch goes over the pairs in batches of like lengths, see `data.parallel.bucketed`, in an
    order of its own, and ends with the exact perplexity of the validation's targets.

    Args:
        model: the translator.
        train: ids of source and target, each with its end.
        valid: the same, for validation.
        key: random key; the run is a function of it and the arguments.
        epochs: passes over the pairs.
        tokens: about how many tokens of the target a batch holds, padding included.
        buckets: lengths to which sentences are padded; a step is compiled for each.
        transform: any optax transformation, default `optimizer("adam", steps=all)`.
        **options: `average`, `patience`, `minutes`, `report`, `out` and `resume`, as for `fit`.

    Raises:
        ValueError, FloatingPointError: as `fit`.
    """
    lengths = bucket_lengths(train, buckets)
    epoch_steps = batch_count(train, tokens=tokens, lengths=lengths)
    if transform is None:
        check_positive(epochs=epochs)
        transform = optimizer(steps=epochs * epoch_steps)
    order = np.asarray(jax.random.key_data(jax.random.fold_in(key, 1))).tolist()

    def batches(epoch: int):
        shuffle = np.random.default_rng([*order, epoch]).permutation
        return (
            batch for _, batch in bucketed(train, tokens=tokens, lengths=lengths, order=shuffle)
        )

    job = Job(
        state=_init_translator(model, transform, key),
        transform=transform,
        epoch_steps=epoch_steps,
        rewind=lambda state: state,
        batches=batches,
        step=lambda state, batch: _translator_step(model, transform, state, batch),
        validate=lambda params: pair_perplexity(
            model, params, valid, tokens=tokens, lengths=lengths
        ),
    )
    return run_job(job, epochs=epochs, **options)


@partial(jax.jit, static_argnames=("model", "transform"))
def _init_translator(model, transform, key) -> TrainState:
    params, data = model.init(jax.random.fold_in(key, 0)), jax.random.key_data(key)
    return TrainState(params, transform.init(params), (), data, jnp.zeros((), jnp.int32))


@partial(jax.jit, static_argnames=("model", "transform"), donate_argnames="state")
def _translator_step(
    model, transform, state: TrainState, batch: PairBatch
) -> tuple[TrainState, Metrics]:
    """Take one step on the mean loss of a batch's tokens."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

    def mean_loss(params):
        losses = loss(model, params, batch, key)
        return jnp.where(batch.mask, losses, 0).sum() / batch.mask.sum(), None

    params, opt, metrics, _ = descend(transform, mean_loss, state.params, state.opt)
    return TrainState(params, opt, (), state.key, state.step + 1), metrics


def pair_perplexity(
    model: Translator,
    params,
    pairs: IdPairs,
    *,
    tokens: int = 2000,
    lengths: Sequence[int] | None = None,
) -> float:
    """Return exp of the mean negative log-likelihood of all tokens of the targets, ends included.

    Args:
        model: the translator.
        params: its parameters.
        pairs: ids of source and target, each with its end.
        tokens: see `data.parallel.bucketed`; affects memory and speed alone.
        lengths: see there as well.
    """
    total, count = 0.0, 0
    for _, batch in bucketed(pairs, tokens=tokens, lengths=lengths):
        total -= float(_score_pairs(model, params, batch))
        count += int(batch.mask.sum())
    return float(np.exp(total / count))


@partial(jax.jit, static_argnames="model")
@full_precision
def _score_pairs(model, params, batch: PairBatch):
    return jnp.where(batch.mask, log_prob(model, params, batch), 0).sum()
