"""Contiguous batches: a stream cut into B sequences, the state of one batch carried to the next."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lmjax.checks import check_positive
from lmjax.ids import token_ids

__all__ = ["Batch", "contiguous"]


class Batch(NamedTuple):
    """T tokens of B sequences of a stream: given `inputs`, a model predicts `targets`."""

    inputs: np.ndarray  # int32 [T, B]
    targets: np.ndarray  # int32 [T, B]
    mask: np.ndarray  # bool [T, B]  False after the stream's end


def contiguous(ids: np.ndarray, *, batch_size: int, seq_len: int, start: int) -> Iterator[Batch]:
    """Cut a stream into equal sequences and yield them side by side, `seq_len` tokens at a time.

    Each token of the stream is a target exactly once; its input is the token before it in the
    stream, and `start` before the first. Sequence b of a batch continues sequence b of the one
    before.

    Args:
        ids: int `[N]`, a list or an array, in memory or on disk.
        batch_size: B, the number of sequences.
        seq_len: T; the last batch is padded and masked.
        start: the token before the first.

    >>> for batch in contiguous(np.arange(5), batch_size=2, seq_len=2, start=9):
    ...     print(batch.inputs.tolist(), batch.targets.tolist(), batch.mask.tolist())
    [[9, 2], [0, 3]] [[0, 3], [1, 4]] [[True, True], [True, True]]
    [[1, 0], [0, 0]] [[2, 0], [0, 0]] [[True, False], [False, False]]

    Raises:
        ValueError: `batch_size` or `seq_len` is below 1, or the stream is empty or no sequence
            of whole numbers.
    """
    check_positive(batch_size=batch_size, seq_len=seq_len)
    ids, start = token_ids("ids", ids), token_ids("start", [start])[0]
    if not len(ids):
        raise ValueError("batches: the stream holds no tokens")
    length = -(-len(ids) // batch_size)
    for t in range(0, length, seq_len):
        offset = t + np.arange(seq_len)[:, None]
        place = offset + length * np.arange(batch_size)
        mask = (offset < length) & (place < len(ids))
        targets = np.where(mask, ids[place * mask], 0).astype(np.int32)
        before = ids[np.maximum(place - 1, 0) * mask]
        inputs = np.where(mask, np.where(place == 0, start, before), 0).astype(np.int32)
        yield Batch(inputs, targets, mask)
