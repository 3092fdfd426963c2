"""A translator is a language model of the target, given its source; padding has no effect."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells, decoding, models
from lmjax.data.parallel import PairBatch
from lmjax.models import translation

SOURCE = jnp.array([[1, 2], [3, 4], [5, 0]])
MASK = jnp.array([[True, True], [True, True], [True, False]])
INPUTS = jnp.array([[0, 0], [1, 2], [3, 1]])
TARGETS = jnp.array([[1, 2], [3, 1], [0, 0]])
KINDS = {"none": None, "luong": translation.luong, "additive": translation.additive}


def make(kind, **options):
    encoder = cells.bidirectional(cells.gru(3, 4), cells.gru(3, 4))
    sizes = {"source_size": 6, "target_size": 4, "embedding_size": 3}
    return translation.translator(
        encoder, cells.lstm(3, 5), **sizes, attention=KINDS[kind], **options
    )


@pytest.fixture(params=KINDS)
def model(request):
    return make(request.param)


def log_prob(model, params, source, mask):
    target, state = translation.given(model, params, source, mask)
    return models.log_prob(model.target, target, state, INPUTS, TARGETS)[1]


def test_padding_changes_no_probability_no_gradient_and_no_translation(model, key):
    params = model.init(key)
    longer = jnp.concatenate([SOURCE, jnp.full_like(SOURCE, 3)])
    padded = jnp.concatenate([MASK, jnp.zeros_like(MASK)])
    total = lambda params, *source: log_prob(model, params, *source).sum()
    chex.assert_trees_all_close(
        jax.value_and_grad(total)(params, longer, padded),
        jax.value_and_grad(total)(params, SOURCE, MASK),
        rtol=1e-10,
        atol=1e-12,
    )

    def words(*source):
        target, state = translation.given(model, params, *source)
        how = {"start": 0, "end": 0, "length": 5}
        return decoding.beam_search(model.target, target, state, **how, size=3).tokens

    np.testing.assert_array_equal(words(longer, padded), words(SOURCE, MASK))


def test_a_sentence_alone_is_as_probable_as_among_others(model, key):
    params = model.init(key)
    together = log_prob(model, params, SOURCE, MASK)[:, 1]
    target, state = translation.given(model, params, SOURCE[:2, 1:], MASK[:2, 1:])
    alone = models.log_prob(model.target, target, state, INPUTS[:, 1:], TARGETS[:, 1:])[1]
    np.testing.assert_allclose(alone[:, 0], together, rtol=1e-10)


def test_probabilities_sum_to_one_and_are_those_of_the_targets(model, key):
    params = model.init(key)
    target, state = translation.given(model, params, SOURCE, MASK)
    _, all_states = models.states(model.target, target, state, INPUTS)
    h = model.target.cell.read(target.cell, all_states)
    logp = model.target.head.log_probs(target, h)
    np.testing.assert_allclose(np.exp(logp).sum(-1), 1, rtol=1e-10)
    own = np.take_along_axis(logp, TARGETS[..., None], -1)[..., 0]
    np.testing.assert_allclose(log_prob(model, params, SOURCE, MASK), own, rtol=1e-10)


def test_attention_is_by_hand(key):
    h, memory = jax.random.normal(key, (1, 1, 2)), jax.random.normal(key, (3, 1, 4))
    mask = jnp.array([[True], [True], [False]])
    for make_attention, score in (
        (translation.luong, lambda w, v: h[0, 0] @ (v @ w)),
        (translation.additive, lambda p, v: jnp.tanh(h[0, 0] @ p.w_h + v @ p.w_v) @ p.v),
    ):
        attention = make_attention(2, 4)
        params = attention.init(key)
        found = translation.weights(attention, params, h, attention.keys(params, memory), mask)[
            0, 0
        ]
        e = np.exp([score(params, memory[j, 0]) for j in (0, 1)])
        np.testing.assert_allclose(found, [*(e / e.sum()), 0], rtol=1e-10)


def test_label_smoothing_mixes_the_uniform_distribution_into_the_target(key):
    """-log P of the target at 1 - epsilon, and the mean of -log P over all words at epsilon."""
    plain, smooth = make("luong"), make("luong", label_smoothing=0.1)
    params = plain.init(key)
    loss = lambda model: models.loss(
        model.target, *translation.given(model, params, SOURCE, MASK), INPUTS, TARGETS, key
    )[1]
    target, state = translation.given(plain, params, SOURCE, MASK)
    _, all_states = models.states(plain.target, target, state, INPUTS)
    h = plain.target.cell.read(target.cell, all_states)
    logp = plain.target.head.log_probs(target, h)
    expected = 0.9 * loss(plain) - 0.1 * logp.mean(-1)
    np.testing.assert_allclose(loss(smooth), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing: must be in \[0, 1\), got 1.0"),
        ({"target_size": 0}, "target_size"),
    ],
)
def test_what_is_out_of_range_is_named(options, named):
    encoder = cells.unidirectional(cells.rnn(3, 4))
    sizes = {"source_size": 6, "target_size": 4, "embedding_size": 3}
    with pytest.raises(ValueError, match=named):
        translation.translator(encoder, cells.rnn(3, 5), **(sizes | options))


def test_attention_is_a_distribution_over_the_words_of_the_source(key):
    batch = PairBatch(SOURCE, MASK, INPUTS, TARGETS, jnp.ones_like(TARGETS, bool))
    model = make("luong")
    weights = translation.attention_weights(model, model.init(key), batch)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
    np.testing.assert_array_equal(weights[:, 1, 2], 0)  # padding
    model = make("none")
    with pytest.raises(ValueError, match="the model has no attention"):
        translation.attention_weights(model, model.init(key), batch)
