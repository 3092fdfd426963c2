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
from lmjax.train.history import Extent, History
from lmjax.train.step import Metrics, TrainState

__all__ = ["BEST", "LAST", "Course", "Progress", "Standing", "load", "load_history", "start"]

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
    valid: float = math.inf  # its perplexity, inf if no validation was finite
    done: int = 0  # epochs that have been validated
    since: int = 0  # of these, those since the best one


@dataclass
class Course:
    """A training under way."""

    at: Standing
    history: History
    total: int  # steps
    report: Callable[[Progress], None]
    out: Path | None
    pending: deque[tuple[int, Metrics]] = field(default_factory=deque)  # still on the device
    written: Extent = field(default_factory=Extent)  # of the history on disk
    shown: float = -math.inf  # when there was last a report
    saved: float = field(default_factory=time.monotonic)  # when there was last a checkpoint

    def step(self, state: TrainState, tokens: int, metrics: Metrics) -> None:
        """Note a step; report and save if it is time to."""
        self.at = self.at._replace(state=state)
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
            at = at._replace(valid=valid, best=jax.tree.map(jnp.copy, state.params))
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
        _, _, valid, done, since = self.at
        meta = {
            "valid": valid if math.isfinite(valid) else None,
            "done": done,
            "since": since,
            "sampled": self.history.sampled,
            "history": self.written._asdict(),
        }
        checkpoint.save(self.out / LAST, self.at[:2], meta)

    def is_whole(self) -> bool:
        """Return whether nothing is half done: an interrupt can fall anywhere."""
        state, (tokens, loss, norm, *_) = self.at.state, self.history
        if state.step.is_deleted() or not len(tokens) == len(loss) == len(norm):
            return False
        return int(state.step) == len(loss) + len(self.pending)


def start(out: Path) -> None:
    """Make the directory of a training that begins, without what another one left there."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (LAST, BEST, METRICS):
        (out / name).unlink(missing_ok=True)


def load(out: Path, like: Standing) -> tuple[Standing, History, Extent]:
    """Read the checkpoint of a directory.

    Raises:
        ValueError: a file is damaged, or the checkpoint is that of another model or optimiser.
    """
    (state, best), meta = checkpoint.load(out / LAST, like[:2])
    written = _extent(out, meta)
    past = history.read(out / METRICS, written, sampled=meta["sampled"])
    valid = math.inf if meta["valid"] is None else meta["valid"]
    return Standing(state, best, valid, meta["done"], meta["since"]), past, written


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
