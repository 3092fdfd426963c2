"""A sparse non-negative matrix, against its equations written out over dictionaries."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import models
from lmjax.models import Params, snm
from lmjax.models.snm.adjustment import EDGES, bucket
from lmjax.models.snm.features import is_ngram
from lmjax.testing import check_cell, check_head

V = 5
TYPES = snm.feature_types(3, remote=2, gap=2, adjacent=1)
TEXT = [0, 1, 2, 0, 1, 2, 3, 0, 1, 1, 2, 0, 1, 2, 2, 3, 0, 1, 2, 0]  # the word 4 is never there


def features(ids, t):
    """Every feature that is active at position t, as pairs of distances and words."""
    return [(o, tuple(ids[t - d] for d in o)) for o in TYPES if all(d <= t for d in o)]


def dictionaries(ids, without=None):
    links = Counter((f, w) for t, w in enumerate(ids) if t != without for f in features(ids, t))
    totals = Counter()
    for (f, _), c in links.items():
        totals[f] += c
    return links, totals


def distribution(links, totals, seen, adjustment):
    """P(w | h) of every word, from the features of h."""
    known = [f for f in seen if totals[f]]
    matched = sum(is_ngram(o) for o, _ in known) - 1
    y = np.full(V, np.exp(float(adjustment.uniform)) / V)
    for f in known:
        t = TYPES.index(f[0])
        for w in range(V):
            if c := links[f, w]:
                a = adjustment.by_count[t, bucket(totals[f]), bucket(c)]
                y[w] += np.exp(float(a + adjustment.by_match[matched, t])) * c / totals[f]
    return y / y.sum()


@pytest.fixture
def adjustment(key):
    k = jax.random.split(key, 3)
    n, b = len(TYPES), len(EDGES)
    return snm.Adjustment(
        jax.random.normal(k[0], (n, b, b)),
        jax.random.normal(k[1], (n, n)),
        jax.random.normal(k[2], ()),
    )


def test_probabilities_are_those_of_the_equation(adjustment):
    lm, params = (
        snm.snm(V, TYPES),
        Params((), (), snm.index(snm.count(TEXT, TYPES, vocab_size=V), adjustment)),
    )
    text = np.array([1, 2, 4, 0, 1, 2, 0, 3, 3])
    _, states = models.states(lm, params, lm.cell.initial_state(()), text)
    found = jnp.exp(models.next_log_probs(lm, params, states))
    links, totals = dictionaries(TEXT)
    for t in range(len(text)):
        seen = features([*text, 0], t + 1)
        expected = distribution(links, totals, seen, adjustment)
        np.testing.assert_allclose(found[t], expected, rtol=1e-10)


def test_leaving_a_position_out_is_counting_without_it(adjustment):
    data = snm.left_out(snm.count(TEXT, TYPES, vocab_size=V), np.arange(len(TEXT)))
    found = snm.loss(adjustment, jax.tree.map(jnp.asarray, data), V)
    for t, w in enumerate(TEXT):
        p = distribution(*dictionaries(TEXT, without=t), features(TEXT, t), adjustment)
        np.testing.assert_allclose(found[t], -np.log(p[w]), rtol=1e-10)


def test_training_lowers_the_loss_of_positions_left_out(key):
    ids = np.asarray(jax.random.categorical(key, jnp.zeros((4, 4)).at[0, 1].set(3), shape=(9, 4)))
    ids = ids.ravel()
    counts = snm.count(ids, TYPES, vocab_size=V)
    data = jax.tree.map(jnp.asarray, snm.left_out(counts, np.arange(len(ids))))
    trained = snm.train(counts, key, epochs=20, batch_size=8)
    nothing = jax.tree.map(jnp.zeros_like, trained)
    assert snm.loss(trained, data, V).mean() < snm.loss(nothing, data, V).mean() - 0.05


def test_it_obeys_the_laws_of_a_cell_and_a_head(key):
    types = ((), (1,), (3,))
    model = snm.fit(TEXT, key, vocab_size=V, types=types)
    lm = snm.snm(V, types)
    history = jnp.array(TEXT[-len(lm.cell.initial_state(())) :])
    check_cell(lm.cell, key, jnp.int32(1))
    check_head(lm.head._replace(init=lambda key: model), key, history, V)


def test_a_single_type_is_the_relative_frequency(key):
    """Of the words alone, without an adjustment: P(w) = (C_w / N + 1 / V) / 2."""
    b = len(EDGES)
    nothing = snm.Adjustment(jnp.zeros((1, b, b)), jnp.zeros((1, 1)), jnp.zeros(()))
    lm, params = (
        snm.snm(V, ((),)),
        Params((), (), snm.index(snm.count(TEXT, ((),), vocab_size=V), nothing)),
    )
    p = jnp.exp(models.next_log_probs(lm, params, lm.cell.initial_state(())))
    expected = (np.bincount(TEXT, minlength=V) / len(TEXT) + 1 / V) / 2
    np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_the_equal_text_and_key_give_the_equal_model(key):
    fit = lambda: snm.fit(TEXT, key, vocab_size=V, types=TYPES, positions=10)
    jax.tree.map(np.testing.assert_array_equal, fit(), fit())


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "no tokens"),
        ([0] * 7, "at least 8 tokens are needed for features of the word 7 before, got 7"),
        ([0, V], "from 0 to 4"),
        ([-1, 0], "from 0"),
    ],
)
def test_texts_that_cannot_be_counted_are_refused(ids, message, key):
    with pytest.raises(ValueError, match=message):
        snm.fit(np.array(ids, int), key, vocab_size=V)
