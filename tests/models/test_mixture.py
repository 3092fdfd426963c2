"""A mixture is the weighted sum of its models' distributions, at every step, with any head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells, metrics, models
from lmjax.models import ngram as ng

TEXT = np.random.default_rng(0).integers(0, 6, 300)
NGRAM = ng.ngram(6, 3, eos=0)
RNN = models.recurrent(cells.rnn(4, 4), vocab_size=6)
LM = models.mixture(NGRAM, RNN)
COUNTED = models.Params((), (), ng.index(ng.add_delta(ng.count(TEXT, 3, size=6, eos=0), 0.5)))


def test_a_mixture_is_the_weighted_sum(key):
    parts = [COUNTED, RNN.init(key)]
    params = models.join(parts, [0.3, 0.7])
    inputs, targets = TEXT[:-1], TEXT[1:]
    p = [
        np.exp(models.log_prob(lm, part, lm.cell.initial_state(part.cell), inputs, targets)[1])
        for lm, part in zip((NGRAM, RNN), parts, strict=True)
    ]
    state, mixed = models.log_prob(LM, params, LM.cell.initial_state(params.cell), inputs, targets)
    np.testing.assert_allclose(np.exp(mixed), 0.3 * p[0] + 0.7 * p[1], rtol=1e-5)
    np.testing.assert_allclose(np.exp(models.next_log_probs(LM, params, state)).sum(), 1, rtol=1e-5)
    assert metrics.perplexity(LM, params, TEXT, start=0, batch_size=3).tokens == 300


def test_one_model_is_its_own_mixture(key):
    lm = models.mixture(RNN)
    params = lm.init(key)
    alone = models.Params(params.embed[0], params.cell[0], params.head.heads[0])
    expected = models.log_prob(
        RNN, alone, RNN.cell.initial_state(alone.cell), TEXT[:9], TEXT[1:10]
    )[1]
    np.testing.assert_allclose(
        models.log_prob(lm, params, lm.cell.initial_state(params.cell), TEXT[:9], TEXT[1:10])[1],
        expected,
        rtol=1e-6,
    )


def test_weights_are_those_of_the_greatest_likelihood():
    logp = jnp.log(jax.random.uniform(jax.random.key(1), (2, 500), minval=0.05, maxval=1))
    weight = models.mixture_weights(logp)[0]
    grid = np.linspace(0.001, 0.999, 999)
    likelihood = [
        float(jnp.log(w * jnp.exp(logp[0]) + (1 - w) * jnp.exp(logp[1])).mean()) for w in grid[::10]
    ]
    assert abs(weight - grid[::10][int(np.argmax(likelihood))]) < 0.02


def test_a_mixture_needs_a_model():
    with pytest.raises(ValueError, match="at least one model"):
        models.mixture()


def test_the_models_of_a_mixture_share_a_vocabulary():
    lms = [models.recurrent(cells.rnn(2, 2), vocab_size=v) for v in (5, 6)]
    with pytest.raises(ValueError, match=r"one vocabulary, got sizes \[5, 6\]"):
        models.mixture(*lms)
