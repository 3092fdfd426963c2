"""Models on disk: flat arrays in one safetensors file, with the words in its header."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lmjax.data import Vocabulary
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
    if Path(path).exists() and not Path(path).is_file():  # a device would be replaced by a file
        raise ValueError(f"save: {path} is there, and not a file")
    arrays = {"unseen": model.unseen}
    for k, level in enumerate(model.levels, 1):
        for name, value in level._asdict().items():
            if isinstance(value, Quantised):
                arrays |= {f"{k}.{name}.{part}": x for part, x in value._asdict().items()}
            elif not isinstance(value, tuple):  # () is not written
                arrays[f"{k}.{name}"] = value
    header = {
        "kind": "lmjax n-gram",
        "level": vocab.level,
        "symbols": json.dumps(vocab.symbols),
        **facts,
    }
    fresh = Path(f"{path}.{os.getpid()}.part")
    try:
        save_file({name: np.asarray(x) for name, x in arrays.items()}, fresh, header)
        fresh.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)


def load(path) -> tuple[NGram, Vocabulary, dict[str, str]]:
    """Read what `save` wrote: `(model, vocab, facts)`.

    Raises:
        ValueError: the file is not one of an n-gram model.
    """
    try:
        with safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            arrays = {name: jnp.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from None
    if facts.pop("kind", None) != "lmjax n-gram":
        raise ValueError(f"{path} holds no n-gram model")
    vocab = Vocabulary(tuple(json.loads(facts.pop("symbols"))), facts.pop("level"))

    def values(name):
        if f"{name}.code" in arrays:
            return Quantised(arrays[f"{name}.code"], arrays[f"{name}.table"])
        return arrays.get(name, ())

    order = max(int(name.partition(".")[0]) for name in arrays if name[0].isdigit())
    levels = []
    for k in range(1, order + 1):
        levels.append(Level(*(values(f"{k}.{name}") for name in Level._fields)))
    return NGram(tuple(levels), jnp.int32(vocab.eos), arrays["unseen"]), vocab, facts
