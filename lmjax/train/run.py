"""A run on disk: what was trained, its vocabulary, its parameters."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lmjax.cells import CELLS, stack
from lmjax.checks import check_positive
from lmjax.data import Vocabulary
from lmjax.heads import HEADS
from lmjax.models import Dropout, LanguageModel, recurrent
from lmjax.train import checkpoint
from lmjax.train.course import BEST

__all__ = ["Model", "Trained", "build", "check_same", "describe", "load_run"]


@dataclass(frozen=True)
class Model:
    """The shape of a recurrent language model."""

    cell: str = "lstm"
    """Kind of cell, a name in `lmjax.cells.CELLS`: rnn, irnn, lstm, gru, mingru, ..."""
    hidden: int = 256
    """Size of the hidden vector."""
    embedding: int | None = None
    """Size of a word vector; the hidden size if not given."""
    layers: int = 1
    """Cells on top of each other."""
    head: str = "softmax"
    """Output layer, a name in `lmjax.heads.HEADS`: softmax, tied (to the word vectors), ..."""
    drop_input: float = 0.0
    """Dropout rate of word vectors."""
    drop_output: float = 0.0
    """Dropout rate of the features the output layer reads."""
    drop_recurrent: float = 0.0
    """Dropout rate of single recurrent weights."""
    segment: int | None = None
    """For long sequences: keep every so-many-th state, and compute the others again going back."""


class Trained(NamedTuple):
    """A run read back from its directory."""

    lm: LanguageModel
    params: Any
    vocab: Vocabulary
    config: dict  # all that was given to the command


def build(model: Model, vocab_size: int) -> LanguageModel:
    """Return the language model of a description.

    >>> from lmjax.cells import gru
    >>> lm = build(Model(cell="gru", hidden=8, layers=2), vocab_size=10)
    >>> lm.cell.layers[0] == gru(8, 8)
    True

    Raises:
        ValueError: the cell or the head is unknown, a size is not positive, a rate is not in
            [0, 1), or `tied` does not fit the sizes.
    """
    choices: dict[str, Collection[str]] = {"cell": CELLS, "head": HEADS}
    for name, known in choices.items():
        if (given := getattr(model, name)) not in known:
            raise ValueError(f"{name}: must be one of {', '.join(known)}, got {given!r}")
    hidden, layers = model.hidden, model.layers
    embedding = hidden if model.embedding is None else model.embedding
    check_positive(hidden=hidden, embedding=embedding, layers=layers)
    if model.head == "tied" and embedding != hidden:
        raise ValueError(f"head: tied needs embedding equal to hidden, got {embedding=}, {hidden=}")
    rates = {name: getattr(model, f"drop_{name}") for name in Dropout._fields}
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"drop_{name}: must be in [0, 1), got {rate}")
    make = CELLS[model.cell]
    stacked = [make(embedding if k == 0 else hidden, hidden) for k in range(layers)]
    return recurrent(
        stacked[0] if layers == 1 else stack(*stacked),
        vocab_size=vocab_size,
        embedding_size=embedding,
        head=HEADS[model.head](hidden, vocab_size),
        dropout=Dropout(**rates),
        segment=model.segment,
    )


def describe(out: Path, model: Model, vocab: Vocabulary, config: dict) -> None:
    """Write `config.json` and `vocab.json` of a run before it starts."""
    out.mkdir(parents=True, exist_ok=True)

    def write(name, value):
        checkpoint.write(out / name, json.dumps(value, ensure_ascii=False, indent=1).encode())

    write("config.json", {"model": asdict(model), **config})
    write("vocab.json", {"level": vocab.level, "symbols": vocab.symbols})


def check_same(out: Path, model: Model, config: dict) -> None:
    """Refuse to go on with a run under other arguments than it began with.

    Raises:
        ValueError: an argument differs; it is named.
    """
    was = json.loads((out / "config.json").read_text("utf-8"))
    now = {"model": asdict(model), **config}
    flat = lambda d: {**d["model"], **{k: v for k, v in d.items() if k != "model"}}
    for name, value in flat(now).items():
        if flat(was).get(name) != value:
            raise ValueError(
                f"resume: {name} was {flat(was).get(name)!r} when the run began, "
                f"now it is {value!r}"
            )


def load_run(path) -> Trained:
    """Read a run: the parameters of its best validation.

    Raises:
        ValueError: the directory is no run, has no validated parameters yet, or a file is damaged.
    """
    path = Path(path)
    for name in ("config.json", "vocab.json", BEST):
        if not (path / name).is_file():
            raise ValueError(f"{path}: no finished validation here, {name} is missing")
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
        vocab = json.loads((path / "vocab.json").read_text("utf-8"))
        model, vocab = Model(**config["model"]), Vocabulary(tuple(vocab["symbols"]), vocab["level"])
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: config.json or vocab.json is damaged ({error})") from None
    lm = build(model, len(vocab))
    params, _ = checkpoint.load(path / BEST, jax.eval_shape(lm.init, jax.random.key(0)))
    return Trained(lm, params, vocab, config)
