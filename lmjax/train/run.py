"""A run on disk: what was trained, its vocabulary, its parameters."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lmjax.cell import Cell
from lmjax.cells import CELLS, stack
from lmjax.checks import check_positive, fitting
from lmjax.data import Vocabulary
from lmjax.heads import HEADS
from lmjax.models import Dropout, LanguageModel, Penalties, recurrent
from lmjax.models.maxent import Links, link, maxent, observed
from lmjax.train import checkpoint
from lmjax.train.course import BEST

__all__ = [
    "Model",
    "Trained",
    "build",
    "cell_maker",
    "check_same",
    "describe",
    "links_of",
    "load_run",
    "read_json",
]


@dataclass(frozen=True)
class Model:
    """The shape of a recurrent language model."""

    cell: str = "lstm"
    """Kind of cell, a name in `lmjax.cells.CELLS`: rnn, irnn, lstm, gru, mingru, ... One of your
    own is module:function, which takes the input's size and the hidden size and returns a `Cell`;
    the module may lie in the working directory."""
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
    drop_embedding: float = 0.0
    """Dropout rate of whole words: all their occurrences in a batch."""
    drop_between: float = 0.0
    """Dropout rate of the features that one layer reads from another."""
    activation_penalty: float = 0.0
    """Weight of the features' mean square in the loss."""
    temporal_penalty: float = 0.0
    """Weight of the mean square of the features' change from step to step in the loss."""
    segment: int | None = None
    """For long sequences: keep every so-many-th state, and compute the others again going back."""
    maxent: int | None = None
    """Train weights of n-grams of 2 to so many words together with the network: maximum entropy."""
    maxent_successors: int = 32
    """Of the words that followed a context, so many of the most frequent get a weight."""
    maxent_min_count: int = 2
    """N-grams seen less often in the training text get no weight."""


class Trained(NamedTuple):
    """A run read back from its directory."""

    lm: LanguageModel
    params: Any
    vocab: Vocabulary
    config: dict  # all that was given to the command


def links_of(model: Model, ids, vocab_size: int) -> Links | None:
    """Return the n-grams of the training text that the model has weights for, None for none."""
    if model.maxent is None:
        return None
    limits = {"successors": model.maxent_successors, "min_count": model.maxent_min_count}
    with fitting("maxent"):
        return link(ids, model.maxent, vocab_size=vocab_size, **limits)


def build(model: Model, vocab_size: int, links: Links | None = None) -> LanguageModel:
    """Return the language model of a description.

    With `model.maxent` it has the n-grams of `links_of` beside it.

    >>> from lmjax.cells import gru
    >>> lm = build(Model(cell="gru", hidden=8, layers=2), vocab_size=10)
    >>> lm.cell.layers[0] == gru(8, 8)
    True

    Raises:
        ValueError: the cell or the head is unknown, a cell's module or function is not there or
            makes no `Cell`, a head that shares the embedding does not fit the sizes, or a number is
            out of range, see `models.recurrent`.
    """
    if model.head not in HEADS:
        raise ValueError(f"head: must be one of {', '.join(HEADS)}, got {model.head!r}")
    make = cell_maker(model.cell)
    hidden, layers = model.hidden, model.layers
    embedding = hidden if model.embedding is None else model.embedding
    check_positive(hidden=hidden, embedding=embedding, layers=layers)
    head = HEADS[model.head](hidden, vocab_size)
    if head.shares_embedding and embedding != hidden:
        sizes = f"embedding equal to hidden, got {embedding=}, {hidden=}"
        raise ValueError(f"head: {model.head} needs {sizes}")
    stacked = [make(embedding if k == 0 else hidden, hidden) for k in range(layers)]
    lm = recurrent(
        stacked[0] if layers == 1 else stack(*stacked),
        vocab_size=vocab_size,
        embedding_size=embedding,
        head=head,
        dropout=Dropout(*(getattr(model, f"drop_{name}") for name in Dropout._fields)),
        penalties=Penalties(*(getattr(model, f"{name}_penalty") for name in Penalties._fields)),
        segment=model.segment,
    )
    if model.maxent is None:
        return lm
    if links is None:
        raise ValueError("links: a model with maxent needs those of its training text")
    return maxent(lm, observed(links, vocab_size))


def cell_maker(cell: str) -> Callable[[int, int], Cell]:
    """Return the maker of a cell: one of ours by its name, a user's by module and function.

    >>> cell_maker("gru")(2, 3).init(jax.random.key(0)).w_h.shape
    (3, 9)

    Raises:
        ValueError: the name is unknown, or the module or function is not there.
    """
    if cell in CELLS:
        return CELLS[cell]
    module, colon, function = cell.partition(":")
    if not colon:
        raise ValueError(
            f"cell: must be one of {', '.join(CELLS)}, got {cell!r}; your own is module:function"
        )
    make = getattr(_module(module), function, None)
    if not callable(make):
        raise ValueError(f"cell: {cell}: the module {module} has no function {function!r}")

    def checked(n_in, n):
        if not isinstance(made := make(n_in, n), Cell):
            raise ValueError(
                f"cell: {cell}({n_in}, {n}) must return a lmjax.cell.Cell, "
                f"not {type(made).__name__}"
            )
        return made

    return checked


def _module(name: str):
    """Import a module, from the working directory as well."""
    path, here = sys.path, os.getcwd()
    sys.path = [here, *path]
    try:
        return importlib.import_module(name)
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0][:100]
        raise ValueError(
            f"cell: cannot import the module {name!r} from {here} or Python's path ({line})"
        ) from error
    finally:
        sys.path = path


def describe(out: str | Path, model: Any, config: dict, **parts: dict) -> None:
    """Write `config.json` of a run before it starts, and each part as a JSON file of its name.

    Args:
        out: directory of the run.
        model: its shape, a dataclass.
        config: what else was given.
        **parts: its vocabulary, for example.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, value in {"config": {"model": asdict(model), **config}, **parts}.items():
        text = json.dumps(value, ensure_ascii=False, indent=1)
        checkpoint.write(out / f"{name}.json", text.encode())


def check_same(out: str | Path, model: Any, config: dict) -> None:
    """Refuse to go on with a run under other arguments than it began with.

    Of a corpus or of pairs the text counts, which `sha256` tells, not its place; and a run may go
    on for more epochs.

    Raises:
        ValueError: an argument differs; its flag is named.
    """
    was, now = read_json(Path(out) / "config.json"), {**asdict(model), **config}
    was = asdict(type(model)()) | was | was.get("model", {})
    text = "pairs" if "pairs" in now else "corpus"
    if was.get("sha256") != now.get("sha256"):
        raise ValueError(
            f"resume: --{text} is another text than when the run began: its sha256 was "
            f"{was.get('sha256')}, that of {now.get(text)} is {now.get('sha256')}"
        )
    for name, value in now.items():
        if name not in ("sha256", text, "epochs") and was.get(name) != value:
            raise ValueError(
                f"resume: --{name.replace('_', '-')} was {was.get(name)!r} when the run began, "
                f"now it is {value!r}"
            )


def read_json(path: Path) -> dict:
    """Return the object of a JSON file."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {**found}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from None


def load_run(path) -> Trained:
    """Read a run: the parameters of its best validation.

    Raises:
        ValueError: the directory is no run, has no validated parameters yet, or a file is damaged.
    """
    path = Path(path)
    for name in ("config.json", "vocab.json", BEST):
        if not (path / name).is_file():
            raise ValueError(f"{path}: no finite validation here yet, {name} is missing")
    config, kept = read_json(path / "config.json"), read_json(path / "vocab.json")
    try:
        model, vocab = Model(**config["model"]), Vocabulary(tuple(kept["symbols"]), kept["level"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: config.json or vocab.json is damaged ({error})") from None
    links = None if model.maxent is None else _links(path / BEST)
    lm = build(model, len(vocab), links)
    params, _ = checkpoint.load(path / BEST, jax.eval_shape(lm.init, jax.random.key(0)))
    return Trained(lm, params, vocab, config)


def _links(path: Path) -> Links:
    """Return the links that a model was trained with, from its parameters."""
    arrays = checkpoint.read_part(path, "cell.features.links")
    if set(arrays) != set(Links._fields):
        raise ValueError(f"{path}: holds no n-grams, with which the model was trained")
    return Links(**arrays)
