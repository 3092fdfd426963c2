"""What is trained of a sparse non-negative matrix: a factor for every kind of link.

    M_fw = exp(A[t, b(C_f*), b(C_fw)] + B[m, t]) C_fw / C_f*

t is the type of the feature f, b(c) the bucket of a count, and m the length of the longest n-gram
before w that was ever seen. The factors are those under which a text is most probable if each of
its words is predicted from the counts of all the others (leave one out).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lmjax.checks import check_positive
from lmjax.models.snm.features import Counts, Table, is_ngram

__all__ = [
    "EDGES",
    "Adjustment",
    "LeftOut",
    "adjusted",
    "bucket",
    "left_out",
    "loss",
    "minimise",
    "train",
]

# the least count of each bucket: two buckets for each doubling
EDGES = np.unique([int(2**k * part) for k in range(12) for part in (1, 1.5)])


class Adjustment(NamedTuple):
    """Parameters: logarithms of factors, 0 for none."""

    by_count: jax.Array  # [types, buckets, buckets]  A, by C_f* and C_fw
    by_match: jax.Array  # [orders, types]  B
    uniform: jax.Array  # []  of the feature that is always there, with 1/V for every word


class LeftOut(NamedTuple):
    """Positions of a text as the counts of the rest of the text have them."""

    totals: Any  # [N, types]  C_f* - 1; 0 where no feature of the type is known
    counts: Any  # [N, types]  C_fw - 1 of the word w that stands there
    buckets: Any  # int8 [N, types, 2]  of these two
    masses: Any  # [N, types, buckets]  counts of all words, added up by their bucket
    matched: Any  # int32 [N]  m


def bucket(count) -> np.ndarray:
    """Return the bucket of each count; a count of 0, which weighs nothing, goes into the first.

    >>> bucket(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8])).tolist()
    [0, 0, 1, 2, 3, 3, 4, 4, 5]
    """
    return np.maximum(np.searchsorted(EDGES, count, side="right") - 1, 0).astype(np.int8)


def left_out(counts: Counts, at: np.ndarray) -> LeftOut:
    """Take one occurrence of each of the positions `at` out of the counts of their text.

    That moves a word from the bucket of C_fw to that of C_fw - 1; nothing is counted again.
    """
    ids = counts.ids[at]
    columns = [
        _without(table, row[at], ids) for table, row in zip(counts.tables, counts.rows, strict=True)
    ]
    totals, own, masses = (np.stack(column, 1) for column in zip(*columns, strict=True))
    known = totals[:, [is_ngram(offsets) for offsets in counts.types]] > 0
    pairs = np.stack([bucket(totals), bucket(own)], -1)
    return LeftOut(totals, own, pairs, masses, known.sum(1, dtype=np.int32) - 1)


def _without(table: Table, row: np.ndarray, ids: np.ndarray):
    """Return C_f* - 1, C_fw - 1 and the counts by bucket, for the features of one type."""
    active = np.flatnonzero(row >= 0)
    distinct, place = np.unique(row[active], return_inverse=True)
    feature, link = table.links(distinct)
    masses = np.zeros((len(distinct), len(EDGES)), np.float32)
    np.add.at(masses, (feature, bucket(table.counts[link])), table.counts[link])

    size = np.int64(table.follower.max()) + 1
    own = np.searchsorted(feature * size + table.follower[link], place * size + ids[active])
    c = table.counts[link[own]]
    total, count = np.zeros((2, len(row)), np.float32)
    total[active], count[active] = table.totals[row[active]] - 1, c - 1
    mass = np.zeros((len(row), len(EDGES)), np.float32)
    mass[active] = masses[place]
    mass[active, bucket(c)] -= c
    mass[active, bucket(c - 1)] += c - 1
    return total, count, mass


def loss(parameters: Adjustment, data: LeftOut, vocab_size: int):
    """Return -log P(w) of each position `[N]` under the counts of the others.

        P(w) = y_w / sum_v y_v,    y_w = sum_f M_fw + exp(u) / V

    The sum over v goes over buckets: within one, all words have the same factor.
    """
    of_total, of_count = jnp.moveaxis(data.buckets, -1, 0)
    types = jnp.arange(of_total.shape[-1])
    factor = jnp.exp(parameters.by_count[types, of_total])  # [N, types, buckets]
    weight = jnp.exp(parameters.by_match[data.matched]) / jnp.maximum(data.totals, 1)
    own = jnp.take_along_axis(factor, of_count[..., None], -1)[..., 0]
    u = jnp.exp(parameters.uniform)
    y = (weight * own * data.counts).sum(-1) + u / vocab_size
    total = (weight * (factor * data.masses).sum(-1)).sum(-1) + u
    return jnp.log(total) - jnp.log(y)


def train(
    counts: Counts,
    key,
    *,
    positions: int = 200_000,
    epochs: int = 3,
    batch_size: int = 1024,
    learning_rate: float = 0.05,
) -> Adjustment:
    """Train the factors on positions of a text, each left out of the counts in its turn.

    Args:
        counts: of the features of the text.
        key: random key, which draws positions, and their order.
        positions: how many positions of the text are trained on.
        epochs: passes over them.
        batch_size: positions of one update.
        learning_rate: of the first update.
    """
    check_positive(positions=positions, epochs=epochs, batch_size=batch_size)
    k_sample, k_order = jax.random.split(key)
    positions = min(positions, len(counts.ids))
    at = jax.random.choice(k_sample, len(counts.ids), (positions,), replace=False)
    data = jax.tree.map(jnp.asarray, left_out(counts, np.sort(at)))
    options = {"epochs": epochs, "batch_size": min(batch_size, positions)}
    return minimise(data, k_order, counts.vocab_size, learning_rate=learning_rate, **options)


@partial(jax.jit, static_argnames=("vocab_size", "epochs", "batch_size", "learning_rate"))
def minimise(
    data: LeftOut, key, vocab_size: int, *, epochs: int, batch_size: int, learning_rate: float
) -> Adjustment:
    """Minimise the mean of `loss` by Adam, its rate falling to 0 along a cosine."""
    positions, types = data.totals.shape
    batches = positions // batch_size
    transform = optax.adam(optax.cosine_decay_schedule(learning_rate, epochs * batches))

    def step(carry, at):
        parameters, state = carry
        batch = jax.tree.map(lambda x: x[at], data)
        gradient = jax.grad(lambda p: loss(p, batch, vocab_size).mean())(parameters)
        updates, state = transform.update(gradient, state)
        return (optax.apply_updates(parameters, updates), state), None

    def epoch(carry, key):
        order = jax.random.permutation(key, positions)[: batches * batch_size]
        return lax.scan(step, carry, order.reshape(batches, batch_size))

    shape = (types, len(EDGES), len(EDGES))
    start = Adjustment(jnp.zeros(shape), jnp.zeros((types, types)), jnp.zeros(()))
    (parameters, _), _ = lax.scan(
        epoch, (start, transform.init(start)), jax.random.split(key, epochs)
    )
    return parameters


def adjusted(table: Table, by_count: np.ndarray) -> np.ndarray:
    """Return exp(A) C_fw / C_f* of every link of a table."""
    total = np.repeat(table.totals, np.diff(table.first))
    factor = np.exp(by_count[bucket(total), bucket(table.counts)])
    return factor * table.counts / total
