"""Pairs of sentences in two languages: read, split without a leak, batched by length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lmjax.checks import check_positive
from lmjax.data.text import read_lines

__all__ = ["PairBatch", "Splits", "bucketed", "read_pairs", "split_pairs"]

Pairs = list[tuple[str, str]]


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
    sha256: str  # of all pairs, in their order


def split_pairs(pairs: Pairs, held_out: float = 0.05) -> Splits:
    """Split pairs by the hash of the source: a sentence is in one split with all its translations.

    A pair that is there twice counts once. The split of a sentence depends on nothing else.

    Args:
        pairs: source and target.
        held_out: share of the validation, and as much of the test.

    >>> splits = split_pairs([(str(i), "x") for i in range(1000)], held_out=0.1)
    >>> [len(part) for part in splits[:3]]
    [788, 106, 106]

    Raises:
        ValueError: a split is empty.
    """
    parts: tuple[Pairs, Pairs, Pairs] = ([], [], [])
    digest = hashlib.sha256()
    for source, target in dict.fromkeys(pairs):
        digest.update(f"{source}\t{target}\n".encode())
        place = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8]) / 2**64
        parts[2 if place < held_out else 1 if place < 2 * held_out else 0].append((source, target))
    if not all(parts):
        raise ValueError(f"pairs: {len(pairs)} are too few for three splits")
    return Splits(*parts, digest.hexdigest())


class PairBatch(NamedTuple):
    """B sentence pairs, padded: given the source and `inputs`, a model predicts `targets`."""

    source: np.ndarray  # int32 [S, B]
    source_mask: np.ndarray  # bool [S, B]
    inputs: np.ndarray  # int32 [T, B]  the target, from the start token on
    targets: np.ndarray  # int32 [T, B]  the target with its end
    mask: np.ndarray  # bool [T, B]


def bucketed(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    tokens: int,
    end: int,
    order: Callable[[np.ndarray], np.ndarray] = lambda indices: indices,
) -> Iterator[tuple[np.ndarray, PairBatch]]:
    """Yield batches of pairs of like lengths, of few shapes: lengths are padded to 8, 12, 16, 24...

    Each pair is in one batch. The last batch of a shape is filled up with masked rows.

    Args:
        pairs: ids of source and target, without an end.
        tokens: about how many tokens of the target a batch holds, padding included.
        end: the id that begins and ends a target; it ends the source as well.
        order: of the batches, e.g. a random permutation of their numbers.

    Yields:
        `(which [B], batch)`: the numbers of the pairs, -1 where a row is filled up.
    """
    check_positive(tokens=tokens)
    shapes: dict[tuple[int, int], list[int]] = {}
    for i, (source, target) in enumerate(pairs):
        shape = _padded_length(len(source) + 1), _padded_length(len(target) + 1)
        shapes.setdefault(shape, []).append(i)
    chunks = []
    for shape, which in sorted(shapes.items()):
        size = max(tokens // shape[1], 1)
        for k in range(0, len(which), size):
            filled = which[k : k + size] + [-1] * (size - len(which[k : k + size]))
            chunks.append((shape, np.array(filled)))
    for number in order(np.arange(len(chunks))):
        shape, which = chunks[number]
        yield which, _batch(pairs, shape, which, end)


def _padded_length(n: int) -> int:
    return next(size for k in range(3, 60) for size in (2**k, 3 * 2 ** (k - 1)) if n <= size)


def _batch(pairs, shape: tuple[int, int], which: np.ndarray, end: int) -> PairBatch:
    """Return the pairs as arrays; a row that is filled up has one word of source and no target."""
    source, targets = (np.full((length, len(which)), end, np.int32) for length in shape)
    lengths = np.zeros((2, len(which)), int)
    for column, i in enumerate(which):
        x, y = pairs[i] if i >= 0 else ((), ())
        source[: len(x), column], targets[: len(y), column] = x, y
        lengths[:, column] = len(x) + 1, (len(y) + 1) * (i >= 0)
    inputs = np.concatenate([np.full((1, len(which)), end, np.int32), targets[:-1]])
    mask_of = lambda length, n: np.arange(length)[:, None] < n
    return PairBatch(
        source, mask_of(shape[0], lengths[0]), inputs, targets, mask_of(shape[1], lengths[1])
    )
