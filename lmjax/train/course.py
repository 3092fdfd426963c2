"""A training under way: where it stands, what happened so far, and what of it is on disk."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.train import checkpoint, history
from lmjax.train.average import Averaging, average, weight
from lmjax.train.deadline import advance
from lmjax.train.history import Extent, History
from lmjax.train.step import Metrics, TrainState

__all__ = ["BEST", "LAST", "Course", "Progress", "Standing", "begin", "load_history"]

REPORT = 0.5  # seconds between two looks at the device's results
SAVE = 60.0  # seconds between two checkpoints within an epoch
BEST, LAST, METRICS = "best.safetensors", "last.safetensors", "metrics.jsonl"


class Progress(NamedTuple):
    """What `fit` tells while it runs."""

    step: int
    total: int  # steps
    tokens: int  # trained on so far
    loss: float  # mean of the last steps, nats a token; nan before the first
    valid: float | None  # validation perplexity, where this report is about one
    validating: bool = False  # whether a validation begins


class Standing(NamedTuple):
    """Where a training stands: what a checkpoint keeps of it."""

    state: TrainState
    best: Any  # the parameters of the best validation
    mean: Any = None  # of the parameters, where they are averaged
    valid: float = math.inf  # perplexity of the best validation, inf if none was finite
    done: int = 0  # epochs that have been validated
    since: int = 0  # of these, those since the best one
    averaged: int = 0  # steps that went into the mean
    begun: float = 0.0  # when, by `time.monotonic`; later by what it was broken off for


@dataclass
class Course:
    """A training under way."""

    at: Standing
    history: History
    total: int  # steps
    report: Callable[[Progress], None]
    out: Path | None
    averaging: Averaging | None
    minutes: float | None
    pending: deque[tuple[int, Metrics]] = field(default_factory=deque)  # still on the device
    written: Extent = field(default_factory=Extent)  # of the history on disk
    shown: float = -math.inf  # when there was last a report
    saved: float = field(default_factory=time.monotonic)  # when there was last a checkpoint

    @property
    def params(self):
        """The parameters to validate and keep."""
        return self.at.mean if self.at.averaged else self.at.state.params

    @property
    def seconds(self) -> float:
        """Time that the training took, before it was resumed included."""
        return time.monotonic() - self.at.begun

    @property
    def spent(self) -> float:
        """The share of its minutes that are over."""
        return 0.0 if self.minutes is None else self.seconds / max(60 * self.minutes, 1e-9)

    def on_time(self, state: TrainState) -> TrainState:
        """Return the state whose learning rate is as far as the minutes are, if that is farther."""
        if self.minutes is None:
            return state
        taken = len(self.history.loss) + len(self.pending)
        step = max(taken, round(self.total * min(self.spent, 1.0)))
        return state._replace(opt=advance(state.opt, step))

    def is_over(self, patience: int | None) -> bool:
        """Return whether the training ends here: the last step is validated, and it is time to."""
        tokens, _, _, valid, _ = self.history
        if self.spent >= 1 and valid and valid[-1][0] == tokens[-1]:
            return True
        return patience is not None and self.at.since >= patience

    def step(self, state: TrainState, tokens: int, metrics: Metrics) -> None:
        """Note a step; report and save if it is time to."""
        at = self.at._replace(state=state)
        if self.averaging and (w := weight(self.averaging, at.averaged, at.since)):
            mean = average(at.mean, state.params, w)
            at = at._replace(mean=mean, averaged=at.averaged + 1)
        self.at = at
        self.pending.append((tokens, metrics))
        now = time.monotonic()
        if now - self.shown > REPORT:
            self.pull()
            self.shown = now
        if now - self.saved > SAVE:
            self.save()

    def validation(self, state: TrainState, valid: float, *, epoch_done: bool) -> None:
        """Note a validation. One that is not finite is never the best."""
        self.pull(valid=valid)
        at, better = self.at._replace(state=state), valid < self.at.valid
        if better:
            at = at._replace(valid=valid, best=jax.tree.map(jnp.copy, self.params))
            if self.out is not None:
                meta = {"valid": valid, "step": len(self.history.loss)}
                checkpoint.save(self.out / BEST, at.best, meta)
        since = 0 if better else at.since + epoch_done
        self.at = at._replace(done=at.done + epoch_done, since=since)
        self.history.valid.append([self.history.tokens[-1], valid])

    def pull(self, **about) -> None:
        """Get the results of the last steps from the device, and report.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        count = max(len(self.pending), 1)
        while self.pending:
            tokens, metrics = self.pending[0]
            loss, norm = float(metrics.loss), float(metrics.norm)
            self.history.tokens.append((self.history.tokens or [0])[-1] + tokens)
            self.history.loss.append(loss)
            self.history.norm.append(norm)
            self.pending.popleft()
        recent, steps = self.history.loss[-count:], len(self.history.loss)
        if not np.isfinite(recent).all():
            raise FloatingPointError(
                f"training: the loss is not finite at step {steps} of {self.total}; "
                "try a smaller learning rate"
            )
        tokens, loss = (self.history.tokens or [0])[-1], np.mean(recent) if recent else math.nan
        self.report(Progress(steps, self.total, tokens, float(loss), **{"valid": None, **about}))

    def save(self) -> None:
        """Write all that is needed to go on, if there is a place for it."""
        self.saved = time.monotonic()
        if self.out is None:
            return
        self.pull()
        self.written = history.append(self.out / METRICS, self.history, self.written)
        meta = {
            "valid": self.at.valid if math.isfinite(self.at.valid) else None,
            "done": self.at.done,
            "since": self.at.since,
            "averaged": self.at.averaged,
            "seconds": self.seconds,
            "sampled": self.history.sampled,
            "history": self.written._asdict(),
        }
        checkpoint.save(self.out / LAST, self.at[:3], meta)

    def is_whole(self) -> bool:
        """Return whether nothing is half done: an interrupt can fall anywhere."""
        state, (tokens, loss, norm, *_) = self.at.state, self.history
        if state.step.is_deleted() or not len(tokens) == len(loss) == len(norm):
            return False
        return int(state.step) == len(loss) + len(self.pending)


def begin(
    state: TrainState,
    total: int,
    report: Callable[[Progress], None],
    *,
    sampled: bool,
    averaging: Averaging | None,
    minutes: float | None,
    out: str | Path | None,
    resume: bool,
) -> Course:
    """Return a training that begins, or as its directory's checkpoint holds it.

    A directory is made, and what another training left in it is removed.

    Raises:
        ValueError: a file is damaged, the checkpoint is that of another model or optimiser, or
            there is no directory to go on from.
    """
    if resume and out is None:
        raise ValueError("resume: out must name the directory to go on from")
    copy = lambda: jax.tree.map(jnp.copy, state.params)
    at = Standing(state, copy(), averaging and copy(), begun=time.monotonic())
    past = History([], [], [], [], sampled)
    if out is None:
        return Course(at, past, total, report, None, averaging, minutes)
    out = Path(out)
    if resume and (out / LAST).exists():
        at, past, written = _load(out, at)
        return Course(at, past, total, report, out, averaging, minutes, written=written)
    out.mkdir(parents=True, exist_ok=True)
    for name in (LAST, BEST, METRICS):
        (out / name).unlink(missing_ok=True)
    return Course(at, past, total, report, out, averaging, minutes)


def _load(out: Path, like: Standing) -> tuple[Standing, History, Extent]:
    (state, best, mean), meta = checkpoint.load(out / LAST, like[:3])
    written = _extent(out, meta)
    past = history.read(out / METRICS, written, sampled=meta["sampled"])
    at = Standing(
        state,
        best,
        mean,
        valid=math.inf if meta["valid"] is None else meta["valid"],
        done=meta["done"],
        since=meta["since"],
        averaged=meta.get("averaged", 0),
        begun=time.monotonic() - meta.get("seconds", 0),
    )
    return at, past, written


def load_history(path) -> History:
    """Return the history of a run from its directory.

    Raises:
        ValueError: a file is damaged.
    """
    path = Path(path)
    meta = checkpoint.read_meta(path / LAST)
    return history.read(path / METRICS, _extent(path, meta), sampled=meta["sampled"])


def _extent(out: Path, meta: dict) -> Extent:
    try:
        return Extent(**meta["history"])
    except TypeError:
        raise ValueError(
            f"{out / LAST}: is of an earlier version, which kept the history elsewhere; "
            "train anew in another directory"
        ) from None
