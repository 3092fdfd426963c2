"""Counted models on disk: flat arrays in one safetensors file, with the words in its header."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lmjax.data import Vocabulary

__all__ = ["kind_of", "read_arrays", "write_arrays"]


def write_arrays(
    path, kind: str, arrays: dict[str, Any], vocab: Vocabulary, facts: dict[str, str]
) -> None:
    """Write the arrays of a model, its vocabulary and any facts to a file, whole or not at all.

    Raises:
        ValueError: `path` is there and not a file.
        OSError: the file cannot be written.
    """
    if Path(path).exists() and not Path(path).is_file():  # a device would be replaced by a file
        raise ValueError(f"save: {path} is there, and not a file")
    words = {"level": vocab.level, "symbols": json.dumps(vocab.symbols)}
    fresh = Path(f"{path}.{os.getpid()}.part")
    try:
        named = {name: np.asarray(x) for name, x in arrays.items()}
        save_file(named, fresh, {"kind": f"lmjax {kind}", **words, **facts})
        fresh.replace(path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)


def read_arrays(path, kind: str) -> tuple[dict[str, Any], Vocabulary, dict[str, str]]:
    """Read what `write_arrays` wrote: `(arrays, vocab, facts)`.

    Raises:
        ValueError: the file is not one of a model of this kind.
    """
    if kind_of(path) != kind:
        raise ValueError(f"{path} holds no {kind} model")
    with safe_open(path, "numpy") as file:
        facts = file.metadata()
        arrays = {name: jnp.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    facts.pop("kind")
    return arrays, Vocabulary(tuple(json.loads(facts.pop("symbols"))), facts.pop("level")), facts


def kind_of(path) -> str:
    """Return which kind of model a file of this library holds, "" if none.

    Raises:
        ValueError: the file is damaged, or another one.
    """
    try:
        with safe_open(path, "numpy") as file:
            return (file.metadata() or {}).get("kind", "").removeprefix("lmjax ")
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from None
