"""What happened in a training: step by step in memory, line by line on disk."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Extent", "History", "append", "learning_curve", "read"]


class History(NamedTuple):
    """What happened, step by step and validation by validation."""

    tokens: list  # [K]  trained on so far, after each step
    loss: list  # [K]  mean loss of each step's batch, nats a token
    norm: list  # [K]  gradient norm of each step before clipping
    valid: list  # [M]  pairs (tokens trained on so far, validation perplexity)
    sampled: bool = False  # whether `loss` is an estimate that gives no perplexity


class Extent(NamedTuple):
    """How much of a history a file holds."""

    steps: int = 0
    validations: int = 0
    size: int = 0  # bytes


def append(path, history: History, held: Extent) -> Extent:
    """Write what a file does not hold yet, a JSON object a line; return what it holds now.

    The file may be longer than `held` says, as after a crash: the rest is dropped. A number that is
    not finite, which JSON has not, becomes null.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "metrics.jsonl"
    >>> append(file, History([5], [2.0], [math.inf], [[5, 8.0]]), Extent())
    Extent(steps=1, validations=1, size=69)
    >>> print(file.read_text(), end="")
    {"tokens": 5, "loss": 2.0, "norm": null}
    {"tokens": 5, "valid": 8.0}
    """
    json_number = lambda x: x if math.isfinite(x) else None
    columns = (history.tokens, history.loss, history.norm)
    steps = zip(*(column[held.steps :] for column in columns), strict=True)
    with Path(path).open("r+b" if held.size else "wb") as file:
        file.seek(held.size)
        file.truncate()
        for tokens, loss, norm in steps:
            row = {"tokens": tokens, "loss": json_number(loss), "norm": json_number(norm)}
            file.write(json.dumps(row).encode() + b"\n")
        for tokens, valid in history.valid[held.validations :]:
            row = {"tokens": tokens, "valid": json_number(valid)}
            file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        return Extent(len(history.loss), len(history.valid), file.tell())


def read(path, held: Extent, *, sampled: bool = False) -> History:
    """Return the history that a file holds, up to `held`.

    Raises:
        ValueError: the file is shorter, or its lines are others.
    """
    history, number = History([], [], [], [], sampled), lambda x: math.nan if x is None else x
    path, left = Path(path), held.size
    try:
        with path.open("rb") as file:
            for line in file if left else ():
                row = json.loads(line)
                if "valid" in row:
                    history.valid.append([row["tokens"], number(row["valid"])])
                else:
                    history.tokens.append(row["tokens"])
                    history.loss.append(number(row["loss"]))
                    history.norm.append(number(row["norm"]))
                if (left := left - len(line)) <= 0:
                    break
    except (OSError, ValueError, KeyError, TypeError):
        left = 1
    if left or (len(history.loss), len(history.valid)) != held[:2]:
        raise ValueError(
            f"{path}: should begin with {held.steps} steps and {held.validations} validations in "
            f"{held.size} bytes, as the checkpoint says; it is damaged or missing"
        )
    return history


def learning_curve(history: History) -> tuple[np.ndarray, np.ndarray, list]:
    """Return `(seen, train, valid)`: tokens seen, running training perplexity, validations.

    The training loss is averaged over a fiftieth of the run, and given at a few thousand steps at
    most; a sampled one gives no perplexity, and `seen` and `train` are empty. For
    `plot.learning_curves`.

    >>> seen, perplexity, _ = learning_curve(History([10, 20], [0.0, 0.0], [1.0, 1.0], []))
    >>> perplexity.tolist()
    [1.0, 1.0]
    """
    if history.sampled:
        return np.empty(0), np.empty(0), history.valid
    width = max(len(history.loss) // 50, 1)
    shown = slice(None, None, max(len(history.loss) // 2000, 1))
    until = np.cumsum([0.0, *history.loss])
    smooth = (until[width:] - until[:-width]) / width
    return np.array(history.tokens[width - 1 :])[shown], np.exp(smooth[shown]), history.valid
