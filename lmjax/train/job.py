"""The training loop: epochs of batches, validation, early stopping, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax

from lmjax.checks import check_positive
from lmjax.interrupt import Signals, held
from lmjax.train import plateau
from lmjax.train.average import Averaging, check_averaging
from lmjax.train.course import Progress, begin
from lmjax.train.history import History
from lmjax.train.step import Metrics, TrainState
from lmjax.tree import partition

__all__ = ["Job", "Run", "run_job"]


class Job(NamedTuple):
    """What is trained, and on what: all that one kind of model does in a way of its own."""

    state: TrainState  # before the first step
    transform: optax.GradientTransformation
    epoch_steps: int
    rewind: Callable[[TrainState], TrainState]  # at the beginning of an epoch
    batches: Callable[[int], Iterable]  # of an epoch; each has a `mask`, True at its tokens
    step: Callable[[TrainState, Any], tuple[TrainState, Metrics]]
    validate: Callable[[Any], float]  # params -> perplexity
    sampled: bool = False  # whether the training loss is on a sample of the words


class Run(NamedTuple):
    """The result of training."""

    params: Any  # those with the best validation perplexity, averaged if so told
    valid: float  # that perplexity
    history: History
    opt: Any  # last state of the transformation; of `optimizer`, `opt[0]` is the `ClipState`


def run_job(
    job: Job,
    *,
    epochs: int,
    average: Averaging | None = None,
    patience: int | None = None,
    minutes: float | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    out: str | Path | None = None,
    resume: bool = False,
) -> Run:
    """Train, and return the parameters of the best validation perplexity: see `fit`."""
    check_positive(epochs=epochs, **({} if patience is None else {"patience": patience}))
    if average is not None:
        check_averaging(average)
    with held() as signals:
        course = begin(
            job.state,
            epochs * job.epoch_steps,
            report,
            sampled=job.sampled,
            averaging=average,
            minutes=minutes,
            out=out,
            resume=resume,
        )
        try:
            course.pull()
            for epoch in range(course.at.done, epochs):
                signals.check()
                if course.is_over(patience):
                    break
                taken = int(course.at.state.step) - epoch * job.epoch_steps
                state = course.at.state if taken else job.rewind(course.at.state)
                for batch in islice(job.batches(epoch), taken, None):
                    state, metrics = job.step(course.on_time(state), batch)
                    course.step(state, int(batch.mask.sum()), metrics)
                    signals.check()
                    if course.spent >= 1:
                        break
                course.pull(validating=True)
                valid = _validate(job, course.params, signals)
                epoch_done = int(state.step) == (epoch + 1) * job.epoch_steps
                state = _tell(job.transform, state, valid) if epoch_done else state
                course.validation(state, valid, epoch_done=epoch_done)
                course.save()
        except (KeyboardInterrupt, SystemExit):
            if course.is_whole():
                course.save()
            raise
    if course.at.valid == math.inf:
        raise FloatingPointError(
            "training: no validation perplexity was finite; try a smaller learning rate"
        )
    return Run(course.at.best, course.at.valid, course.history, course.at.state.opt)


def _validate(job: Job, params, signals: Signals) -> float:
    """Return the validation perplexity; a signal is heard at once, as nothing is half done."""
    signals.check()
    with signals.heard(), np.errstate(over="ignore"):
        return job.validate(params)


def _tell(transform, state: TrainState, valid: float) -> TrainState:
    """Return the state in which the transformation knows of a validation."""
    if not plateau.watches(state.opt):
        return state
    return state._replace(opt=plateau.tell(transform, partition(state.params)[0], state.opt, valid))
