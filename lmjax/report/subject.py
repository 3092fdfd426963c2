"""What a page is about: a trained model, and the text that it reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lmjax.models import LanguageModel
from lmjax.train import History

__all__ = ["LAG", "Subject", "reading"]

LAG = 100  # steps that are looked at one by one, and the largest lag


class Subject(NamedTuple):
    """A model under study, with its past where it is known."""

    name: str
    lm: LanguageModel
    params: Any
    before: Any = None  # parameters before training
    history: History | None = None
    max_norm: float | None = None  # clipping threshold of the training


def reading(subject: Subject, ids, weight=1.0):
    """Return a text as analysis takes it: `(cell, params, state, xs, loss, ys)`.

    Args:
        subject: the model that reads.
        ids: int `[T + 1]`; each token but the last is an input, each but the first a target.
        weight: of each step's loss, `[T]` or one for all.
    """
    lm, params = subject.lm, subject.params

    def loss(cell_params, state, y):
        target, weight = y
        return -weight * lm.head.log_prob(params, lm.cell.read(cell_params, state), target)

    xs, targets = lm.embed(params.embed, jnp.asarray(ids[:-1])), jnp.asarray(ids[1:])
    ys = targets, jnp.broadcast_to(weight, targets.shape)
    return lm.cell, params.cell, lm.cell.initial_state(params.cell), xs, loss, ys
