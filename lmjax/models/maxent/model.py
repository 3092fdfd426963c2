"""Any recurrent model with maximum-entropy features of the last words beside it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.cell import Cell, shift_register
from lmjax.heads import Head
from lmjax.heads.head import check_targets
from lmjax.ids import nan_loss_outside, nan_outside
from lmjax.models.language_model import (
    LanguageModel,
    Params,
    lookup,
    lookup_with_tokens,
    vocab_size,
)
from lmjax.models.maxent.features import Features

__all__ = ["MaxEnt", "Read", "State", "maxent"]

POSITIONS = 128  # whose distributions over all words are computed at a time


class MaxEnt(NamedTuple):
    """Parameters of the cell: those of the recurrence, and those of the features."""

    cell: Any
    features: Any


class State(NamedTuple):
    """State of the cell: that of the recurrence, and the last words."""

    cell: Any
    history: tuple[jax.Array, ...]  # int32 [...] each, -1 where there is none


class Read(NamedTuple):
    """What the cell reads out."""

    y: jax.Array  # [..., n]
    history: jax.Array  # int32 [..., reach]


def maxent(lm: LanguageModel, features: Features) -> LanguageModel:
    """Return a model whose logits are those of a recurrent model and those of features, added.

        P(w | h) = p_w e^{m_w} / sum_v p_v e^{m_v},    m_w = sum_{f in h} theta[f, w]

    p is the distribution of the recurrent model, whatever its head; with weights of zero it is P.
    Both are trained together. The features look back a few words, across the ends of sentences.
    They are kept, with their weights, in `params.cell.features`. A head that is trained on samples
    still is; the others compute all V logits at every position.

    Make it once, as `observed`.

    Args:
        lm: a recurrent model.
        features: `observed` or `hashed`.

    >>> from lmjax import cells, models
    >>> inner = models.recurrent(cells.rnn(4, 4), vocab_size=3)
    >>> text = [0, 1, 0, 2, 0, 1]
    >>> links = models.maxent.link(text, 3, vocab_size=3)
    >>> lm = maxent(inner, models.maxent.observed(links, 3))
    >>> params = lm.init(jax.random.key(0))
    >>> logp = models.next_log_probs(lm, params, lm.cell.initial_state(params.cell))
    >>> float(jnp.exp(logp).sum().round(5)), len(params.cell.features.theta)
    (1.0, 8)

    Raises:
        ValueError: the vocabularies differ, or the model drops features between layers.

    References: Mikolov, Deoras, Povey, Burget and Cernocky (2011); Chelba, Mikolov, Schuster, Ge,
    Brants, Koehn and Robinson (2013).
    """
    size = vocab_size(lm, jax.eval_shape(lm.init, jax.random.key(0)))
    if size != features.vocab_size:
        raise ValueError(
            f"maxent: the model has {size} words, the features have {features.vocab_size}"
        )
    if lm.dropout.between:
        raise ValueError(
            f"maxent: dropout.between must be 0 beside features, got {lm.dropout.between}"
        )
    inner = lm.cell

    def init(key) -> Params:
        params = lm.init(key)
        return params._replace(cell=MaxEnt(params.cell, features.init(key)))

    def initial_state(params, batch_shape=()) -> State:
        nothing = jnp.full(batch_shape, -1, jnp.int32)
        return State(inner.initial_state(params.cell, batch_shape), (nothing,) * features.reach)

    def step(params, state, x) -> State:
        x, word = x
        history = shift_register(None, state.history, word)
        return State(inner.step(params.cell, state.cell, x), history)

    def encode(params, xs):
        return inner.encode(params.cell, xs[0]), jnp.asarray(xs[1], jnp.int32)

    def read(params, states) -> Read:
        return Read(inner.read(params.cell, states.cell), jnp.stack(states.history, -1))

    def gates(params, state, x):
        return inner.gates(params.cell, state.cell, x[0])

    cell = Cell(
        init=lambda key: init(key).cell,
        initial_state=initial_state,
        step=step,
        encode=encode,
        read=read,
        gates=None if inner.gates is None else gates,
    )
    embed = lambda params, tokens: (lm.embed(params, tokens), tokens)
    return lm._replace(
        init=init,
        embed=lookup_with_tokens if lm.embed is lookup else embed,
        cell=cell,
        head=_with_features(lm.head, features),
    )


def _with_features(head: Head, features: Features) -> Head:
    """Return a head that adds the features' logits to its own."""

    def inner(params):
        return params._replace(cell=params.cell.cell)

    def log_probs(params, y: Read):
        m = features.everywhere(params.cell.features, y.history)
        return jax.nn.log_softmax(head.log_probs(inner(params), y.y) + m)

    def score(params, y: Read, token):
        check_targets(y.y, token)

        @jax.checkpoint
        def at(position):
            *y, word = position
            return log_probs(params, Read(*y))[word]

        flat = lambda x: x.reshape(-1, *x.shape[token.ndim :])
        word = jnp.clip(token, 0, features.vocab_size - 1)
        return lax.map(at, (*map(flat, (*y, word)),), batch_size=POSITIONS).reshape(token.shape)

    def log_prob(params, y: Read, token):
        return nan_outside(score(params, y, token), token, features.vocab_size)

    def loss(params, y: Read, token, key):
        if head.rows is None:
            return nan_loss_outside(-score(params, y, token), token, features.vocab_size)
        extra = partial(features.at, params.cell.features, y.history)
        return head.loss(inner(params), y.y, token, key, extra)

    return head._replace(log_probs=log_probs, log_prob=log_prob, loss=loss)
