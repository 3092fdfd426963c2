"""Dynamic evaluation: what it scores, what it learns from, and when it is plain scoring."""

import jax
import numpy as np
import optax
import pytest

from lmjax import cells, metrics, models

LM = models.recurrent(cells.lstm(4, 4), vocab_size=5)
TEXT = np.random.default_rng(0).integers(0, 5, 50)


def test_without_a_step_it_is_the_perplexity(key):
    params = LM.init(key)
    found = metrics.dynamic_perplexity(LM, params, TEXT, start=0, transform=optax.sgd(0.0))
    assert found.perplexity == pytest.approx(
        metrics.perplexity(LM, params, TEXT, start=0).perplexity, rel=1e-12
    )


def test_no_token_is_scored_after_it_was_learnt(key):
    """The first segment scores as it does without steps, whatever the rate."""
    params = LM.init(key)
    scores = lambda ids, rate: (
        metrics.dynamic_perplexity(
            LM, params, ids, start=0, transform=optax.sgd(rate), seq_len=8
        ).nll
    )
    assert scores(TEXT[:8], 5.0) == scores(TEXT[:8], 0.0)
    assert scores(TEXT[:9], 5.0) != scores(TEXT[:9], 0.0)


def test_a_full_decay_goes_back_to_where_it_was(key):
    params = LM.init(key)
    plain = metrics.perplexity(LM, params, TEXT, start=0).nll
    found = metrics.dynamic_perplexity(LM, params, TEXT, start=0, decay=1.0)
    assert found.nll == pytest.approx(plain, rel=1e-12)


def test_it_learns_from_a_text_that_repeats_itself_and_leaves_the_parameters(key):
    params, text = LM.init(key), np.tile([1, 2, 3, 4], 200)
    before = jax.tree.map(np.array, params)
    found = metrics.dynamic_perplexity(LM, params, text, start=0, transform=optax.sgd(1.0))
    assert found.perplexity < 0.6 * metrics.perplexity(LM, params, text, start=0).perplexity
    jax.tree.map(np.testing.assert_array_equal, before, params)


def test_errors_name_the_argument(key):
    with pytest.raises(ValueError, match="decay: must be from 0 to 1, got 2"):
        metrics.dynamic_perplexity(LM, LM.init(key), TEXT, start=0, decay=2.0)
