"""The training loop: epochs over a corpus, validation, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmjax.checks import check_positive
from lmjax.data import Corpus, contiguous
from lmjax.metrics import perplexity
from lmjax.models import LanguageModel
from lmjax.train import checkpoint
from lmjax.train.step import Metrics, init_state, optimizer, rewind, step

__all__ = ["History", "Progress", "Run", "fit", "learning_curve", "load_history", "steps_per_epoch"]

REPORT = 0.5  # seconds between two looks at the device's results
SAVE = 60.0  # seconds between two checkpoints within an epoch
BEST, LAST = "best.safetensors", "last.safetensors"


class History(NamedTuple):
    """What happened, step by step and validation by validation."""

    tokens: list  # [K]  trained on so far, after each step
    loss: list  # [K]  mean loss of each step's batch, nats a token
    norm: list  # [K]  gradient norm of each step before clipping
    valid: list  # [M]  pairs (tokens trained on so far, validation perplexity)
    sampled: bool = False  # whether `loss` is an estimate that gives no perplexity


class Progress(NamedTuple):
    """What `fit` tells while it runs."""

    step: int
    total: int  # steps
    tokens: int  # trained on so far
    loss: float  # mean of the last steps, nats a token; nan before the first
    valid: float | None  # validation perplexity, where this report is about one


class Run(NamedTuple):
    """The result of training."""

    params: Any  # those with the best validation perplexity
    valid: float  # that perplexity
    history: History
    opt: Any  # last state of the optimiser, `opt[0]` with the clipping statistics


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
    reset: float = 0.01,
    patience: int | None = None,
    minutes: float | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    out: Path | None = None,
    resume: bool = False,
) -> Run:
    """Train a language model and return the parameters of the best validation perplexity.

    The training stream is cut into `batch_size` contiguous sequences, read `bptt` tokens at a time,
    the cell's state carried along: truncated backpropagation through time. Every epoch starts
    afresh at the beginning and ends with a validation (of the same batch size, see
    `metrics.perplexity`).

    Args:
        lm: the model.
        corpus: its `train` and `valid` splits are used.
        key: random key; the run is a function of it and the arguments.
        epochs: passes over the training stream.
        batch_size: B, the number of sequences.
        bptt: T, tokens of a sequence at a time, and how far gradients flow back.
        transform: optax optimiser, default `optimizer("adam", steps=all)`.
        reset: probability that a sequence's state begins anew at a batch, see `step`.
        patience: stop after so many epochs without a better validation; None never does.
        minutes: stop, with a last validation, when so much time has passed.
        report: called before the first step, after it, then a few times a second at most, and after
            each validation.
        out: directory for `best.safetensors` (at every best validation) and `last.safetensors`
            (every minute, and when interrupted).
        resume: go on from `out/last.safetensors` exactly where it ends; the result is that of an
            unbroken run.

    Raises:
        ValueError: a number is out of range, or the checkpoint does not fit.
        FloatingPointError: the loss is no longer finite; `out` holds what was good.
    """
    check_positive(epochs=epochs)
    epoch_steps = steps_per_epoch(len(corpus.train), batch_size, bptt)
    total, eos = epochs * epoch_steps, corpus.vocab.eos
    transform = optimizer(steps=total) if transform is None else transform
    state = init_state(lm, transform, key, batch_size)
    best = jax.tree.map(jnp.copy, state.params)
    history = History([], [], [], [], sampled=lm.head.rows is not None)
    # epochs validated; best validation; validations since then
    done, best_valid, since = 0, math.inf, 0
    if resume:
        if out is None:
            raise ValueError("resume: out must name the directory to go on from")
        (state, best), meta = checkpoint.load(out / LAST, (state, best))
        done, best_valid, since = meta["done"]
        history = History(**meta["history"])
    began = saved = time.monotonic()
    shown = -math.inf
    pending: list[tuple[int, Metrics]] = []

    def pull(valid=None):
        for tokens, metrics in pending:
            history.tokens.append((history.tokens or [0])[-1] + tokens)
            history.loss.append(float(metrics.loss))
            history.norm.append(float(metrics.norm))
        recent = history.loss[-max(len(pending), 1) :]
        pending.clear()
        if not np.isfinite(recent).all():
            raise FloatingPointError(
                f"training: the loss is not finite at step {len(history.loss)} of {total}"
            )
        tokens, loss = (history.tokens or [0])[-1], float(np.mean(recent)) if recent else math.nan
        report(Progress(len(history.loss), total, tokens, loss, valid))

    def save():
        if out is not None:
            checkpoint.save(
                out / LAST,
                (state, best),
                {"done": [done, best_valid, since], "history": history._asdict()},
            )

    try:
        pull()
        for epoch in range(done, epochs):
            taken, late = int(state.step) - epoch * epoch_steps, False
            if not taken:
                state = rewind(lm, state, batch_size)
            batches = contiguous(corpus.train, batch_size=batch_size, seq_len=bptt, start=eos)
            for batch in islice(batches, taken, None):
                state, metrics = step(lm, transform, state, batch, reset=reset)
                pending.append((int(batch.mask.sum()), metrics))
                now = time.monotonic()
                if now - shown > REPORT:
                    pull()
                    shown = now
                if now - saved > SAVE:
                    pull()
                    save()
                    saved = now
                if late := minutes is not None and now - began > 60 * minutes:
                    break
            score = perplexity(lm, state.params, corpus.valid, start=eos, batch_size=batch_size)
            valid = score.perplexity
            pull(valid)
            history.valid.append([history.tokens[-1], valid])
            better = valid < best_valid
            done, since = epoch + (not late), 0 if better else since + 1
            best_valid = min(valid, best_valid)
            if better:
                best = jax.tree.map(jnp.copy, state.params)
                if out is not None:
                    checkpoint.save(out / BEST, best, {"valid": valid, "step": len(history.loss)})
            save()
            if late or (patience is not None and since >= patience):
                break
    except KeyboardInterrupt:
        if not state.step.is_deleted() and int(state.step) == len(history.loss) + len(pending):
            pull()
            save()
        raise
    return Run(best, best_valid, history, state.opt)


def learning_curve(history: History) -> tuple[np.ndarray, np.ndarray, list]:
    """Return `(seen, train, valid)`: tokens seen, running training perplexity, validations.

    The training loss is averaged over a fiftieth of the run; a sampled one gives no perplexity, and
    `seen` and `train` are empty. For `plot.learning_curves`.

    >>> seen, perplexity, _ = learning_curve(History([10, 20], [0.0, 0.0], [1.0, 1.0], []))
    >>> perplexity.tolist()
    [1.0, 1.0]
    """
    if history.sampled:
        return np.empty(0), np.empty(0), history.valid
    width = max(len(history.loss) // 50, 1)
    smooth = np.convolve(history.loss, np.ones(width) / width, "valid")
    return np.array(history.tokens[width - 1 :]), np.exp(smooth), history.valid


def load_history(path) -> History:
    """Return the history of a run from its directory."""
    return History(**checkpoint.read_meta(Path(path) / LAST)["history"])
