"""A trained translator on disk: its shape, the tokenizers of both sides, its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from lmjax.cells import bidirectional, deep, stack, unidirectional
from lmjax.checks import check_positive
from lmjax.data.text import Vocabulary
from lmjax.data.tokenizer import Tokenizer
from lmjax.models import Dropout
from lmjax.models.translation import Translator, additive, luong, translator
from lmjax.train import checkpoint
from lmjax.train.course import BEST
from lmjax.train.run import cell_maker, read_json

__all__ = [
    "TrainedTranslator",
    "TranslatorModel",
    "TranslatorTraining",
    "build_translator",
    "load_translator",
]

ATTENTION = {"luong": luong, "additive": additive, "none": None}


@dataclass(frozen=True)
class TranslatorModel:
    """The shape of a translator."""

    cell: str = "gru"
    """Kind of cell of encoder and decoder, a name in `lmjax.cells.CELLS` or module:function."""
    hidden: int = 256
    """Size of a cell's hidden vector, and of word vectors."""
    layers: int = 1
    """Cells on top of each other, in encoder and decoder."""
    bidirectional: bool = True
    """Whether the encoder reads the source from both ends."""
    attention: Literal["luong", "additive", "none"] = "luong"
    """How the decoder looks back at the source; none: it has the encoder's last outputs alone."""
    dropout: float = 0.3
    """Dropout rate of word vectors and of what the decoder reads out."""
    label_smoothing: float = 0.1
    """Share of the uniform distribution in what training aims at."""


@dataclass(frozen=True)
class TranslatorTraining:
    """How a translator is trained: by Adam, its rate falling to 0 along a cosine."""

    epochs: int = 12
    """Passes over the pairs. With --resume it may be another number."""
    batch_tokens: int = 2000
    """About how many tokens of the target a batch holds, padding included."""
    lr: float = 3e-3
    """Learning rate of the first step."""
    clip: float = 1.0
    """Scale a gradient whose global norm is larger down to this."""


class TrainedTranslator(NamedTuple):
    """A translator read back from its directory."""

    model: Translator
    params: Any
    source: Tokenizer
    target: Tokenizer
    config: dict  # all that was given to the command


def build_translator(model: TranslatorModel, source_size: int, target_size: int) -> Translator:
    """Return the translator of a description.

    >>> model = build_translator(TranslatorModel(hidden=4, layers=2), 10, 9)
    >>> len(model.target.cell.layers)
    2

    Raises:
        ValueError: the cell is unknown, or a number out of range, see `models.translation`.
    """
    make, n = cell_maker(model.cell), model.hidden
    check_positive(hidden=n, layers=model.layers)
    width = 2 * n if model.bidirectional else n
    encoders = []
    for k in range(model.layers):
        cell = make(width if k else n, n)
        encoders.append(bidirectional(cell, cell) if model.bidirectional else unidirectional(cell))
    return translator(
        deep(*encoders),
        make(n, n) if model.layers == 1 else stack(*[make(n, n)] * model.layers),
        source_size=source_size,
        target_size=target_size,
        embedding_size=n,
        attention=ATTENTION[model.attention],
        dropout=Dropout(input=model.dropout, output=model.dropout),
        label_smoothing=model.label_smoothing,
    )


def load_translator(path) -> TrainedTranslator:
    """Read a translator: the parameters of its best validation.

    Raises:
        ValueError: the directory is no such run, has no validated parameters yet, or a file is
            damaged.
    """
    path = Path(path)
    for name in ("config.json", "source.json", "target.json", BEST):
        if not (path / name).is_file():
            raise ValueError(f"{path}: no translator with a validation here, {name} is missing")
    config, *sides = (read_json(path / f"{name}.json") for name in ("config", "source", "target"))
    try:
        shape = TranslatorModel(**config["model"])
        source, target = (_tokenizer(**side) for side in sides)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a JSON file is damaged ({error})") from None
    model = build_translator(shape, len(source.vocab), len(target.vocab))
    like = jax.eval_shape(model.init, jax.random.key(0))
    params, _ = checkpoint.load(path / BEST, like)
    return TrainedTranslator(model, params, source, target, config)


def _tokenizer(vocab: dict, subwords: str | None) -> Tokenizer:
    return Tokenizer(Vocabulary(tuple(vocab["symbols"]), vocab["level"]), subwords)
