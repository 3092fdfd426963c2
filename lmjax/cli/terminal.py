"""What the commands show: one JSON object or text on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import Annotated, Any, NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from tyro.conf import arg

from lmjax.data import Corpus
from lmjax.train import Progress as TrainingProgress
from lmjax.tree import finite

__all__ = [
    "Json",
    "called",
    "counting",
    "emit",
    "fail",
    "lap",
    "laps",
    "progress",
    "say",
    "start_clock",
    "to_json",
    "working",
]

Json = Annotated[
    bool, arg(name="json", help="Print one JSON object on stdout and nothing else there.")
]


def emit(answer: dict, as_json: bool, text: str) -> None:
    """Print a command's answer on stdout, as one JSON object or as text."""
    print(to_json(answer) if as_json else text)


def to_json(answer: Any, indent: int | None = None) -> str:
    """Return an answer as JSON, which has no NaN and no infinity: these become null.

    >>> to_json({"perplexity": float("nan"), "curve": (1.5, float("inf"))})
    '{"perplexity": null, "curve": [1.5, null]}'
    """
    return json.dumps(finite(answer), indent=indent, allow_nan=False)


def fail(text: str) -> NoReturn:
    """End a command whose answer is printed and is not what was wanted: exit status 1."""
    say(f"lmjax: {text}")
    sys.exit(1)


_stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a remark on stderr."""
    _stderr.print(text, markup=False)


_clock: list[tuple[str, float]] = []  # what the command had done by when


def start_clock(began: float) -> None:
    """Note when the command began; by now it has imported what it needs."""
    _clock[:] = [("", began), ("imports", time.perf_counter())]


def lap(what: str) -> None:
    """Note that a part of the command is done."""
    _clock.append((what, time.perf_counter()))


def laps() -> dict[str, float]:
    """Return the seconds that each part noted has taken."""
    return {what: now - before for (_, before), (what, now) in pairwise(_clock)}


@contextmanager
def working(what: str):
    """Show that something without a known length is going on."""
    if not _stderr.is_terminal:
        say(f"{what} ...")
        yield
    else:
        with _stderr.status(what):
            yield


@contextmanager
def progress(name: str):
    """Yield a `report` for `train.fit`: a bar on a terminal, else a line every ten seconds."""
    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(
        *(TextColumn(c) if isinstance(c, str) else c for c in columns),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=_stderr,
        transient=True,
        disable=not _stderr.is_terminal,
    ) as bar:
        task = bar.add_task(name, total=None, note="compiling")
        began = shown = time.monotonic()
        first: list[tuple[float, TrainingProgress]] = []

        def report(at: TrainingProgress) -> None:
            nonlocal shown
            now = time.monotonic()
            # before the first step, and after it: from then on nothing is compiled
            if len(first) < 2:
                if not first and not _stderr.is_terminal and at.step < at.total:
                    say(f"{name}: step {at.step} of {at.total}, compiling ...")
                first.append((now, at))
                lap(("start", "compile")[len(first) - 1])
            since, origin = first[-1]
            seconds, steps = now - since, at.step - origin.step
            rate = (at.tokens - origin.tokens) / seconds if seconds else 0
            left = (at.total - at.step) * seconds / steps if steps else 0
            note = f"loss {at.loss:.2f}  {rate:,.0f} words/s" if steps else "compiling"
            note = "validating" if at.validating else note
            bar.update(task, completed=at.step, total=at.total, note=note)
            if at.valid is not None:
                say(
                    f"{name}: step {at.step} of {at.total}, "
                    f"validation perplexity {at.valid:.2f} ({now - began:.0f} s)"
                )
            elif not _stderr.is_terminal and now - shown > 10:
                shown = now
                say(f"{name}: step {at.step} of {at.total}, {note}, {left:.0f} s left")

        yield report


@contextmanager
def counting(what: str, unit: str = "tokens"):
    """Yield a `report` of `(done, total)`: a bar on a terminal, else a line now and then."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    left = (TextColumn("left"), TimeRemainingColumn())
    hidden = not _stderr.is_terminal
    with Progress(*columns, *left, console=_stderr, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        began = shown = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal shown
            bar.update(task, completed=done, total=total)
            now = time.monotonic()
            if hidden and now - shown > 10:
                shown, rest = now, (now - began) * (total - done) / done
                say(f"{what}: {done:,} of {total:,} {unit}, {rest:.0f} s left")

        if hidden:
            say(f"{what} ...")
        yield report


def called(text: Corpus) -> str:
    """Return what a signature names a corpus: its name and the start of its sha256."""
    return f"{text.name}:{text.sha256[:8]}"
