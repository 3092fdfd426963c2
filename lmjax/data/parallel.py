"""Pairs of sentences in two languages: read, split without a leak, batched by length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lmjax.checks import check_positive
from lmjax.data.text import read_lines

__all__ = [
    "PairBatch",
    "Splits",
    "batch_count",
    "bucket_lengths",
    "bucketed",
    "digest",
    "read_pairs",
    "split_pairs",
]

Pairs = list[tuple[str, str]]  # source and target


def read_pairs(path, target=None) -> Pairs:
    r"""Return the sentence pairs of a table, or of two texts of which line follows line.

    Args:
        path: a file with a tab between source and target in every line, and whatever behind a
            second tab; or, with `target`, the text of the source.
        target: the text of the target, as many lines.

    >>> import tempfile
    >>> from pathlib import Path
    >>> file = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = file.write_text("Go.\t가.\tCC-BY\n\nRun!\t뛰어!\n", encoding="utf-8")
    >>> read_pairs(file)
    [('Go.', '가.'), ('Run!', '뛰어!')]

    Lines that are empty on both sides are left out.

    Raises:
        ValueError: a line has no tab or an empty side, the texts have not as many lines, there is
            no pair, or a file is not UTF-8.
    """
    if target is None:
        rows = [line.split("\t") for line in read_lines(path)]
        for number, row in enumerate(rows, 1):
            if len(row) < 2 and row[0].strip():
                raise ValueError(f"{path}: line {number} has no tab between source and target")
        sides = [(row[0], row[1]) if len(row) > 1 else ("", "") for row in rows]
        name = str(path)
    else:
        source, other = list(read_lines(path)), list(read_lines(target))
        if len(source) != len(other):
            raise ValueError(
                f"pairs: {path} has {len(source):,} lines and {target} {len(other):,}; "
                "line must follow line"
            )
        sides, name = list(zip(source, other, strict=True)), f"{path}, {target}"
    pairs = []
    for number, (left, right) in enumerate(sides, 1):
        left, right = left.strip(), right.strip()
        if left and right:
            pairs.append((left, right))
        elif left or right:
            raise ValueError(f"{name}: line {number} has an empty {'target' if left else 'source'}")
    if not pairs:
        raise ValueError(f"pairs: {name} holds none")
    return pairs


class Splits(NamedTuple):
    """Pairs in three splits."""

    train: Pairs
    valid: Pairs
    test: Pairs


def split_pairs(pairs: Pairs, held_out: float = 0.05) -> Splits:
    """Split pairs by the hash of the source: a sentence is in one split with all its translations.

    A pair that is there twice counts once. The split of a sentence depends on nothing else.

    Args:
        pairs: source and target.
        held_out: share of the validation, and as much of the test.

    >>> splits = split_pairs([(str(i), "x") for i in range(1000)], held_out=0.1)
    >>> [len(part) for part in splits]
    [788, 106, 106]

    Raises:
        ValueError: a split is empty.
    """
    parts = Splits([], [], [])
    for source, target in dict.fromkeys(pairs):
        place = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8]) / 2**64
        part = parts.test if place < held_out else parts.valid if place < 2 * held_out else None
        (parts.train if part is None else part).append((source, target))
    if not all(parts):
        raise ValueError(f"pairs: {len(pairs)} are too few for three splits")
    return parts


def digest(pairs: Pairs) -> str:
    """Return the sha256 of pairs, each counted once, in their order."""
    rows = (f"{source}\t{target}\n".encode() for source, target in dict.fromkeys(pairs))
    found = hashlib.sha256()
    for row in rows:
        found.update(row)
    return found.hexdigest()


IdPairs = Sequence[tuple[Sequence[int], Sequence[int]]]


class PairBatch(NamedTuple):
    """B sentence pairs, padded: given the source and `inputs`, a model predicts `targets`."""

    source: np.ndarray  # int32 [S, B]
    source_mask: np.ndarray  # bool [S, B]
    inputs: np.ndarray  # int32 [T, B]  the end of the target, then its words
    targets: np.ndarray  # int32 [T, B]  its words, then the end; padding is -1, no word
    mask: np.ndarray  # bool [T, B]


def bucketed(
    pairs: IdPairs,
    *,
    tokens: int,
    lengths: Sequence[int] | None = None,
    order: Callable[[np.ndarray], np.ndarray] = lambda indices: indices,
) -> Iterator[tuple[np.ndarray, PairBatch]]:
    """Yield batches of pairs of like lengths, of few shapes, as each is compiled for.

    Source and target are padded to the first of `lengths` that holds both, else to a power of two:
    L, and B is tokens / L. Each pair is in one batch; the last one of a length is filled up with
    masked rows.

    Args:
        pairs: ids of source and target, each with its end: what ends a target begins it as well.
        tokens: about how many tokens of the target a batch holds, padding included.
        lengths: in rising order, default `bucket_lengths(pairs)`.
        order: of the batches, e.g. a random permutation of their numbers.

    Yields:
        `(which [B], batch)`: the numbers of the pairs, -1 where a row is filled up.
    """
    chunks = _chunks(pairs, tokens, lengths)
    for number in order(np.arange(len(chunks))):
        length, which = chunks[number]
        yield which, _batch(pairs, length, which)


def batch_count(pairs: IdPairs, *, tokens: int, lengths: Sequence[int] | None = None) -> int:
    """Return how many batches `bucketed` yields.

    >>> batch_count([([1, 0], [2, 3, 0])] * 100, tokens=48)
    7
    """
    return len(_chunks(pairs, tokens, lengths))


def bucket_lengths(pairs: IdPairs, count: int = 4) -> tuple[int, ...]:
    """Return the lengths to which pairs are padded with the least padding in all.

    Args:
        pairs: ids of source and target.
        count: how many lengths, where the pairs have as many.

    >>> bucket_lengths([([1] * n, [1]) for n in (3, 4, 4, 9, 9, 70)], count=3)
    (4, 9, 70)
    """
    check_positive(count=count)
    sizes, members = np.unique([_length(*pair) for pair in pairs], return_counts=True)
    upto = np.cumsum(members)
    cost, ends = sizes * upto, [np.zeros(len(sizes), int)]  # of the sizes up to each, in one bucket
    for _ in range(min(count, len(sizes)) - 1):
        # [i, j]: the last bucket holds the sizes behind i, up to j
        split = cost[:, None] + sizes * np.maximum(upto - upto[:, None], 0)
        ends.append(split.argmin(0))
        cost = split.min(0)
    lengths, j = [], len(sizes) - 1
    for end in reversed(ends):
        lengths.append(int(sizes[j]))
        j = end[j]
    return tuple(sorted(set(lengths)))


def _chunks(
    pairs: IdPairs, tokens: int, lengths: Sequence[int] | None
) -> list[tuple[int, np.ndarray]]:
    """Return the length of each batch and the numbers of its pairs."""
    check_positive(tokens=tokens)
    lengths = bucket_lengths(pairs) if lengths is None else lengths
    members: dict[int, list[int]] = {}
    for i, pair in enumerate(pairs):
        n = _length(*pair)
        length = next((size for size in lengths if size >= n), 1 << (n - 1).bit_length())
        members.setdefault(length, []).append(i)
    chunks = []
    for length, which in sorted(members.items()):
        size = max(tokens // length, 1)
        for k in range(0, len(which), size):
            filled = which[k : k + size] + [-1] * (size - len(which[k : k + size]))
            chunks.append((length, np.array(filled)))
    return chunks


def _length(source, target) -> int:
    return max(len(source), len(target))


def _batch(pairs: IdPairs, length: int, which: np.ndarray) -> PairBatch:
    """Return the pairs as arrays; a row that is filled up has one word of source and no target."""
    shape = length, len(which)
    source, inputs = np.zeros((2, *shape), np.int32)
    targets = np.full(shape, -1, np.int32)
    lengths = np.zeros((2, len(which)), int)
    lengths[0] = 1
    for column, i in enumerate(which):
        if i < 0:
            continue
        x, y = pairs[i]
        source[: len(x), column] = x
        inputs[: len(y), column] = y[-1], *y[:-1]
        targets[: len(y), column] = y
        lengths[:, column] = len(x), len(y)
    source_mask, mask = np.arange(length)[:, None] < lengths[:, None]
    return PairBatch(source, source_mask, inputs, targets, mask)
