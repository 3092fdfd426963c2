"""N-gram models on disk."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lmjax.data import Vocabulary
from lmjax.models.files import read_arrays, write_arrays
from lmjax.models.ngram.model import Level, NGram, Quantised

__all__ = ["load", "save"]


def save(path, model: NGram, vocab: Vocabulary, **facts: str):
    """Write a model, its vocabulary and any facts about it to a file, whole or not at all.

    Raises:
        ValueError: model and vocabulary differ in size, or `path` is there and not a file.
        OSError: the file cannot be written.
    """
    if model.vocab_size != len(vocab):
        sizes = f"a model of {model.vocab_size} words and a vocabulary of {len(vocab)}"
        raise ValueError(f"save: {sizes}")
    arrays: dict[str, Any] = {"unseen": model.unseen}
    for k, level in enumerate(model.levels, 1):
        for name, value in level._asdict().items():
            if isinstance(value, Quantised):
                arrays |= {f"{k}.{name}.{part}": x for part, x in value._asdict().items()}
            elif not isinstance(value, tuple):  # () is not written
                arrays[f"{k}.{name}"] = value
    write_arrays(path, "n-gram", arrays, vocab, facts)


def load(path) -> tuple[NGram, Vocabulary, dict[str, str]]:
    """Read what `save` wrote: `(model, vocab, facts)`.

    Raises:
        ValueError: the file is not one of an n-gram model.
    """
    arrays, vocab, facts = read_arrays(path, "n-gram")

    def values(name):
        if f"{name}.code" in arrays:
            return Quantised(arrays[f"{name}.code"], arrays[f"{name}.table"])
        return arrays.get(name, ())

    order = max(int(name.partition(".")[0]) for name in arrays if name[0].isdigit())
    levels = []
    for k in range(1, order + 1):
        levels.append(Level(*(values(f"{k}.{name}") for name in Level._fields)))
    return NGram(tuple(levels), jnp.int32(vocab.eos), arrays["unseen"]), vocab, facts
