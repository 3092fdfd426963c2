"""Sparse non-negative matrices on disk."""

from __future__ import annotations

import json
from typing import Any

from lmjax.data import Vocabulary
from lmjax.models.files import read_arrays, write_arrays
from lmjax.models.snm.features import Types
from lmjax.models.snm.model import SNM, Feature

__all__ = ["load", "save"]


def save(path, model: SNM, types: Types, vocab: Vocabulary, **facts: str) -> None:
    """Write a model with the types of its features, its vocabulary and any facts about it.

    Raises:
        ValueError: `path` is there and not a file.
        OSError: the file cannot be written.
    """
    arrays: dict[str, Any] = {"by_match": model.by_match, "uniform": model.uniform}
    for t, feature in enumerate(model.features):
        arrays |= {f"{t}.{name}": value for name, value in feature._asdict().items()}
    write_arrays(path, "SNM", arrays, vocab, {"types": json.dumps(types), **facts})


def load(path) -> tuple[SNM, Types, Vocabulary, dict[str, str]]:
    """Read what `save` wrote: `(model, types, vocab, facts)`.

    Raises:
        ValueError: the file is not one of a sparse non-negative matrix.
    """
    arrays, vocab, facts = read_arrays(path, "SNM")
    types = tuple(map(tuple, json.loads(facts.pop("types"))))
    features = tuple(
        Feature(*(arrays[f"{t}.{name}"] for name in Feature._fields)) for t in range(len(types))
    )
    return SNM(features, arrays["by_match"], arrays["uniform"]), types, vocab, facts
