"""Training of a language model on a corpus."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from lmjax.checks import check_positive
from lmjax.data import Corpus, contiguous
from lmjax.metrics import perplexity
from lmjax.models import LanguageModel
from lmjax.train.average import Averaging
from lmjax.train.course import Progress
from lmjax.train.job import Job, Run, run_job
from lmjax.train.step import init_state, optimizer, rewind, step

__all__ = ["fit", "steps_per_epoch"]


def steps_per_epoch(tokens: int, batch_size: int, bptt: int) -> int:
    """Return how many batches of `data.contiguous` hold a stream of so many tokens.

    >>> steps_per_epoch(1000, 32, 10)
    4

    Raises:
        ValueError: a number is below 1.
    """
    check_positive(tokens=tokens, batch_size=batch_size, bptt=bptt)
    return math.ceil(math.ceil(tokens / batch_size) / bptt)


def fit(
    lm: LanguageModel,
    corpus: Corpus,
    key,
    *,
    epochs: int = 5,
    batch_size: int = 32,
    bptt: int = 35,
    transform: optax.GradientTransformation | None = None,
    params=None,
    reset: float = 0.01,
    average: Averaging | None = None,
    patience: int | None = None,
    minutes: float | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    out: str | Path | None = None,
    resume: bool = False,
) -> Run:
    """Train a language model and return the parameters of the best validation perplexity.

    The training stream is cut into `batch_size` contiguous sequences, read `bptt` tokens at a time,
    the cell's state carried along: truncated backpropagation through time. Every epoch starts
    afresh at the beginning and ends with a validation (of the same batch size, see
    `metrics.perplexity`).

    Ctrl-C and SIGTERM are heard between two steps, or within a validation: the run is saved, and
    `KeyboardInterrupt` raised. A second one, a second later, does not wait.

    Args:
        lm: the model.
        corpus: its `train` and `valid` splits are used.
        key: random key; the run is a function of it and the arguments.
        epochs: passes over the training stream.
        batch_size: B, the number of sequences.
        bptt: T, tokens of a sequence at a time, and how far gradients flow back.
        transform: any optax transformation, default `optimizer("adam", steps=all)`. Within it
            `optax.contrib.reduce_on_plateau` sees each epoch's validation perplexity once: its
            `patience` is a number of epochs.
        params: parameters to begin with, default those that `lm.init` draws.
        reset: probability that a sequence's state begins anew at a batch, see `step`.
        average: keep an average of the parameters after each step, `Averaging(decay=0.999)` say.
            From where it begins validations are of the average, and so are the parameters returned.
        patience: stop after so many epochs without a better validation; None never does.
        minutes: stop, with a last validation, when so much time has passed, that before the run was
            resumed included. Schedules of the transformation end with it: their step is the share
            of the minutes that is over, in steps of all epochs, where that is more than were taken.
            The run then depends on the clock as well.
        report: called before the first step, after it, then a few times a second at most, and
            before and after each validation.
        out: directory for `best.safetensors` (at every best validation), `last.safetensors` (every
            minute, after validations, and when interrupted) and `metrics.jsonl` (the history).
        resume: go on from `out/last.safetensors` exactly where it ends, or begin if there is none;
            the result is that of an unbroken run.

    Raises:
        ValueError: a number is out of range, `params` are another model's, or the checkpoint does
            not fit.
        FloatingPointError: the loss is no longer finite, or no validation was; `out` holds what was
            good.
    """
    epoch_steps = steps_per_epoch(len(corpus.train), batch_size, bptt)
    if transform is None:
        check_positive(epochs=epochs)
        transform = optimizer(steps=epochs * epoch_steps)
    job = Job(
        state=init_state(lm, transform, key, batch_size, _checked(lm, params)),
        transform=transform,
        epoch_steps=epoch_steps,
        rewind=lambda state: rewind(lm, state, batch_size),
        batches=lambda epoch: contiguous(
            corpus.train, batch_size=batch_size, seq_len=bptt, start=corpus.vocab.eos
        ),
        step=lambda state, batch: step(lm, transform, state, batch, reset=reset),
        validate=lambda params: _validate(lm, params, corpus, batch_size),
        sampled=lm.head.rows is not None,
    )
    return run_job(
        job,
        epochs=epochs,
        average=average,
        patience=patience,
        minutes=minutes,
        report=report,
        out=out,
        resume=resume,
    )


def _checked(lm: LanguageModel, params):
    """Return the parameters as arrays of the model's precision, if they are such a model's."""
    if params is None:
        return None
    like = jax.eval_shape(lm.init, jax.random.key(0))
    named = jax.tree_util.tree_leaves_with_path
    shapes = lambda tree: {jax.tree_util.keystr(path): jnp.shape(x) for path, x in named(tree)}
    wanted, given = shapes(like), shapes(params)
    for name in wanted | given:
        want, got = (d.get(name, "nothing") for d in (wanted, given))
        if want != got:
            raise ValueError(f"params: {name} of shape {want} in the model, {got} here")
    return jax.tree.map(lambda x, own: jnp.asarray(x, own.dtype), params, like)


def _validate(lm, params, corpus: Corpus, batch_size: int) -> float:
    start, ids = corpus.vocab.eos, corpus.valid
    return perplexity(lm, params, ids, start=start, batch_size=batch_size).perplexity
