"""The matrix as arrays for lookups, and as a language model."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lmjax.cell import Cell, shift_register
from lmjax.factory import factory
from lmjax.heads import Head
from lmjax.ids import nan_outside
from lmjax.models.language_model import LanguageModel, Params
from lmjax.models.snm.adjustment import Adjustment, adjusted, train
from lmjax.models.snm.features import Counts, Table, Types, count, feature_types, is_ngram

__all__ = ["SNM", "Feature", "fit", "index", "snm"]


class Feature(NamedTuple):
    """The K features of one type, see `Table`; the adjustment by counts is within the values."""

    children: jax.Array  # int32 [parents + 1]
    word: jax.Array  # int32 [K]
    first: jax.Array  # int32 [K + 1]
    follower: jax.Array  # int32 [L]
    value: jax.Array  # [L]  exp(A) C_fw / C_f*
    mass: jax.Array  # [K]  their sum over each feature


class SNM(NamedTuple):
    """A sparse non-negative matrix."""

    features: tuple[Feature, ...]  # of each type
    by_match: jax.Array  # [orders, types]  exp(B), by the length of the longest n-gram known
    uniform: jax.Array  # []  exp(u)


def fit(ids, key, *, vocab_size: int, types: Types | None = None, **training) -> SNM:
    """Estimate a model: count the features of a text, then train their adjustment.

    Args:
        ids: int `[N]`, each from 0 to `vocab_size` - 1.
        key: random key of the training.
        vocab_size: V.
        types: of the features, default `feature_types()`.
        **training: see `train`.

    Raises:
        ValueError: as for `count`.

    References: Shazeer, Pelemans and Chelba (2014); Chelba and Pereira (2016) for the multinomial
    loss.
    """
    counts = count(ids, feature_types() if types is None else types, vocab_size=vocab_size)
    return index(counts, train(counts, key, **training))


def index(counts: Counts, adjustment: Adjustment) -> SNM:
    """Return the model of counts and an adjustment."""

    def feature(table: Table, by_count) -> Feature:
        value = adjusted(table, by_count)
        mass = np.add.reduceat(value, table.first[:-1])
        arrays = (table.children, table.word, table.first, table.follower)
        return Feature(
            *(jnp.asarray(x, jnp.int32) for x in arrays), *map(jnp.asarray, (value, mass))
        )

    by_count = np.asarray(adjustment.by_count)
    return SNM(
        tuple(map(feature, counts.tables, by_count)),
        jnp.exp(adjustment.by_match),
        jnp.exp(adjustment.uniform),
    )


@factory
def snm(vocab_size: int, types: Types) -> LanguageModel:
    """Return the language model of a sparse non-negative matrix, as an embedding, a cell, a head.

        P(w | h) = y_w / sum_v y_v,    y_w = sum_{f in h} M_fw + exp(u) / V

    The sum over f goes over the features of the history h, one of each type at the most. The cell
    is a shift register: its state holds the last words, -1 where there is none; the ends of
    sentences are words like others. All that is estimated is the head's, an `SNM`, by
    `fit`; `init` gives the uniform distribution. Every word has a probability above 0, also one
    that was never seen.

    >>> from lmjax.models import next_log_probs
    >>> types = feature_types(2, remote=0)
    >>> model = fit([0, 1, 0, 2, 0, 1], jax.random.key(0), vocab_size=3, types=types)
    >>> lm, params = snm(3, types), Params((), (), model)
    >>> logp = next_log_probs(lm, params, lm.cell.initial_state(()))
    >>> float(jnp.exp(logp).sum().round(5))
    1.0
    """
    distance = max((offset for offsets in types for offset in offsets), default=1)

    def initial_state(params, batch_shape=()):
        return (jnp.full(batch_shape, -1, jnp.int32),) * distance

    def log_prob(params, history, token):
        model: SNM = params.head
        rows = active(model, types, history)
        known = sum(
            (row >= 0).astype(int) for row, o in zip(rows, types, strict=True) if is_ngram(o)
        )
        weights = model.by_match[known - 1]  # [..., types]
        y, total = model.uniform / vocab_size, model.uniform
        for t, (feature, row) in enumerate(zip(model.features, rows, strict=True)):
            link = find(feature.first, feature.follower, row, token)
            y += weights[..., t] * jnp.where(link < 0, 0, feature.value[link])
            total += weights[..., t] * jnp.where(row < 0, 0, feature.mass[row])
        return nan_outside(jnp.log(y) - jnp.log(total), token, vocab_size)

    def log_probs(params, history):
        return log_prob(params, history[..., None, :], jnp.arange(vocab_size))

    head = Head(
        init=lambda key: _empty(types),
        log_probs=log_probs,
        log_prob=log_prob,
        loss=lambda params, history, token, key: -log_prob(params, history, token),
    )
    cell = Cell(
        init=lambda key: (),
        initial_state=initial_state,
        step=shift_register,
        encode=lambda params, tokens: jnp.asarray(tokens, jnp.int32),
        read=lambda params, words: jnp.stack(words, -1),
    )
    return LanguageModel(
        init=lambda key: Params((), (), head.init(key)),
        embed=lambda params, tokens: tokens,
        cell=cell,
        head=head,
    )


def active(model: SNM, types: Types, history):
    """Return the row of the active feature of each type, -1 where there is none, all `[...]`."""
    rows: dict[tuple[int, ...], jax.Array] = {}
    for offsets, feature in zip(types, model.features, strict=True):
        if offsets:
            parent, word = rows[offsets[:-1]], history[..., -offsets[-1]]
            rows[offsets] = find(feature.children, feature.word, parent, word)
        else:
            rows[offsets] = jnp.zeros((), jnp.int32)
    return list(rows.values())


def find(first, words, group, word):
    """Return where `word` is among words[first[group]:first[group + 1]], which rise; -1 if not.

    >>> groups, words = jnp.array([0, 1, -1]), jnp.array([7, 7, 4])
    >>> find(jnp.array([0, 2, 3]), jnp.array([4, 7, 4]), groups, words).tolist()
    [1, -1, -1]
    """
    known = jnp.maximum(group, 0)
    low, end = first[known], first[known + 1]

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        right = (middle < high) & (words[middle] < word)
        return jnp.where(right, middle + 1, low), jnp.where(right, high, middle)

    shape = jnp.broadcast_shapes(low.shape, jnp.shape(word))
    bounds = jnp.broadcast_to(low, shape), jnp.broadcast_to(end, shape)
    at, _ = lax.fori_loop(0, len(words).bit_length(), halve, bounds)
    there = (group >= 0) & (at < end) & (words[at] == word)
    return jnp.where(there, at, -1)


def _empty(types: Types) -> SNM:
    """Return the model of no counts, which is uniform."""
    none = jnp.zeros(1, jnp.int32)
    starts = jnp.zeros(2, jnp.int32)
    feature = Feature(starts, none, starts, none, jnp.zeros(1), jnp.zeros(1))
    return SNM((feature,) * len(types), jnp.ones((len(types), len(types))), jnp.ones(()))
