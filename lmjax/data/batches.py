"""Contiguous batches: a stream cut into lanes, so that the state of one batch is carried to the next."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Batch", "contiguous"]


class Batch(NamedTuple):
    """T steps of B lanes of a stream: given `inputs`, a model predicts `targets`."""

    inputs: np.ndarray  # int32 [T, B]
    targets: np.ndarray  # int32 [T, B]
    mask: np.ndarray  # bool [T, B]  False after the stream's end


def contiguous(ids: np.ndarray, *, lanes: int, steps: int, start: int) -> Iterator[Batch]:
    """Cut a stream into `lanes` stretches of equal length and yield them side by side, `steps` at a time.

    Each token of the stream is a target exactly once; its input is the token before it in the stream,
    and `start` before the first. Row b of a batch continues row b of the one before.

    Args:
        ids: int `[N]`, in memory or on disk.
        lanes: B.
        steps: T; the last batch is padded and masked.
        start: the token before the first.

    >>> for batch in contiguous(np.arange(5), lanes=2, steps=2, start=9):
    ...     print(batch.inputs.tolist(), batch.targets.tolist(), batch.mask.tolist())
    [[9, 2], [0, 3]] [[0, 3], [1, 4]] [[True, True], [True, True]]
    [[1, 0], [0, 0]] [[2, 0], [0, 0]] [[True, False], [False, False]]

    Raises:
        ValueError: `lanes` or `steps` is below 1, or the stream is empty.
    """
    if lanes < 1 or steps < 1:
        raise ValueError(f"batches: lanes and steps must be at least 1, got lanes={lanes}, steps={steps}")
    if not len(ids):
        raise ValueError("batches: the stream holds no tokens")
    length = -(-len(ids) // lanes)
    for t in range(0, length, steps):
        offset = t + np.arange(steps)[:, None]
        place = offset + length * np.arange(lanes)
        mask = (offset < length) & (place < len(ids))
        targets = np.where(mask, ids[place * mask], 0).astype(np.int32)
        before = ids[np.maximum(place - 1, 0) * mask]
        inputs = np.where(mask, np.where(place == 0, start, before), 0).astype(np.int32)
        yield Batch(inputs, targets, mask)
