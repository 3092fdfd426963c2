"""Recipes: the shape of a model and how it is trained, some of them named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lmjax.data import Corpus
from lmjax.models import LanguageModel
from lmjax.train.adagrad import features_by_adagrad
from lmjax.train.average import Averaging
from lmjax.train.loop import steps_per_epoch
from lmjax.train.run import Model, build, links_of
from lmjax.train.step import optimizer

__all__ = ["RECIPES", "Recipe", "Training", "plan"]


@dataclass(frozen=True)
class Training:
    """How a model is trained."""

    epochs: int = 5
    """Passes over the training text. With --resume it may be another number: the learning rate
    then goes on along the cosine of that many epochs, from the step it has reached."""
    batch_size: int = 32
    """Sequences of the text that are read side by side."""
    bptt: int = 35
    """Tokens of a sequence at a time, and how far gradients flow back."""
    optimizer: str = "adam"
    """adam, sgd or adagrad; the last takes a larger --lr, 0.2 for example."""
    lr: float = 2e-3
    """Learning rate of the first step."""
    decay: Literal["cosine", "plateau", "constant"] = "cosine"
    """How the rate falls: to 0 along a cosine, to a quarter after each epoch without a better
    validation (plateau), or not at all (constant)."""
    clip: float = 1.0
    """Scale a gradient whose global norm is larger down to this."""
    average: Literal["none", "ema", "asgd"] = "none"
    """Validate and keep an average of the parameters after each step: an exponential moving one
    with the span of an epoch (ema), or the mean since the first epoch without a better validation
    (asgd). Either pays where the rate stays high to the end."""


class Recipe(NamedTuple):
    """A model, and its training."""

    model: Model = Model()
    training: Training = Training()


def plan(recipe: Recipe, corpus: Corpus) -> tuple[LanguageModel, dict[str, Any]]:
    """Return a recipe's model for a corpus, and the options with which `fit` trains it.

    >>> from lmjax.data import Vocabulary
    >>> import numpy as np
    >>> vocab = Vocabulary(("<eos>", "a", "<unk>"), "word")
    >>> corpus = Corpus("toy", vocab, *[np.array([1, 1, 0])] * 3, sha256="")
    >>> lm, options = plan(Recipe(Model(hidden=4)), corpus)
    >>> sorted(options)
    ['average', 'batch_size', 'bptt', 'epochs', 'transform']

    Raises:
        ValueError: see `build`, `optimizer` and `steps_per_epoch`.
    """
    (model, training), size = recipe, len(corpus.vocab)
    sizes = {"batch_size": training.batch_size, "bptt": training.bptt}
    steps = steps_per_epoch(len(corpus.train), **sizes)
    averages = {
        "none": None,
        "ema": Averaging(decay=1 - 2 / (steps + 1)),
        "asgd": Averaging(patience=1),
    }
    transform = optimizer(
        training.optimizer,
        training.lr,
        steps=training.epochs * steps if training.decay == "cosine" else None,
        plateau=0.25 if training.decay == "plateau" else None,
        max_norm=training.clip,
    )
    if model.maxent is not None:
        transform = features_by_adagrad(transform)
    lm = build(model, size, links_of(model, corpus.train, size))
    how = {"transform": transform, "average": averages[training.average]}
    return lm, {"epochs": training.epochs, **sizes, **how}


# All but the last are for a text of two million words, 33,000 of them different (WikiText-2), and
# for half an hour on two cores each.
RECIPES: dict[str, Recipe] = {
    "window": Recipe(
        Model(cell="window", head="tied_sampled", drop_input=0.1, drop_output=0.3),
        Training(epochs=4, clip=0.5),
    ),
    "rnn_blackout": Recipe(
        Model(cell="rnn", head="blackout", drop_input=0.2, drop_output=0.2),
        Training(epochs=5, clip=0.5),
    ),
    "rnn_maxent": Recipe(
        Model(cell="rnn", head="tied_sampled", maxent=4, drop_input=0.2, drop_output=0.2),
        Training(epochs=4, clip=0.5),
    ),
    "lstm": Recipe(
        Model(
            cell="lstm_projected",
            hidden=192,
            head="tied_sampled",
            drop_input=0.3,
            drop_output=0.3,
        ),
        Training(epochs=9, lr=3e-3, clip=0.5),
    ),
    "lstm2": Recipe(
        Model(
            cell="lstm_projected",
            hidden=160,
            layers=2,
            head="tied_sampled",
            drop_input=0.3,
            drop_output=0.3,
        ),
        Training(epochs=7, lr=3e-3, clip=0.5),
    ),
    "adaptive_small": Recipe(
        Model(cell="lstm_projected", hidden=192, head="adaptive", drop_input=0.3, drop_output=0.3),
        Training(epochs=8, lr=3e-3, clip=0.5),
    ),
    "adaptive_large": Recipe(
        Model(layers=2, head="adaptive", drop_input=0.2, drop_output=0.2),
        Training(epochs=6, lr=3e-3, clip=0.5),
    ),
    # rungs of experiments/ladder.py
    "lstm64": Recipe(Model(hidden=64, head="tied"), Training(epochs=1, lr=4e-3)),
    "lstm256": Recipe(
        Model(head="tied_sampled", drop_input=0.3, drop_output=0.3),
        Training(epochs=12, lr=3e-3, clip=0.5),
    ),
    "awd": Recipe(
        Model(
            layers=2,
            head="tied_sampled",
            drop_input=0.3,
            drop_output=0.3,
            drop_recurrent=0.3,
            drop_embedding=0.1,
            drop_between=0.2,
            activation_penalty=2.0,
            temporal_penalty=1.0,
        ),
        Training(epochs=12, lr=3e-3, clip=0.5),
    ),
    # LSTM-2048-512 as its authors trained it on a billion words (Jozefowicz et al., 2016)
    "lstm_2048_512": Recipe(
        Model(cell="lstm_projected", hidden=512, head="sampled", drop_input=0.1, drop_output=0.1),
        Training(
            batch_size=128,
            bptt=20,
            optimizer="adagrad",
            lr=0.2,
            decay="constant",
            average="ema",
        ),
    ),
}
