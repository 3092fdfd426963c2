"""Dynamic evaluation: what it scores, what it learns from, and when it is plain scoring."""

import jax
import numpy as np
import pytest

from lmjax import cells, metrics, models

LM = models.recurrent(cells.lstm(4, 4), vocab_size=5)
TEXT = np.random.default_rng(0).integers(0, 5, 50)


def test_without_a_step_it_is_the_perplexity(key):
    params = LM.init(key)
    found = metrics.dynamic_perplexity(LM, params, TEXT, start=0, rates=[0.0])
    assert found.perplexity == pytest.approx(
        metrics.perplexity(LM, params, TEXT, start=0).perplexity, rel=1e-12
    )


def test_no_token_is_scored_after_it_was_learnt(key):
    """The first segment scores as it does without steps, whatever the rate."""
    params = LM.init(key)
    scores = lambda ids, rate: (
        metrics.dynamic_perplexity(LM, params, ids, start=0, rates=[rate], seq_len=8).nll
    )
    assert scores(TEXT[:8], 5.0) == scores(TEXT[:8], 0.0)
    assert scores(TEXT[:9], 5.0) != scores(TEXT[:9], 0.0)


def test_a_full_decay_goes_back_to_where_it_was(key):
    params = LM.init(key)
    plain = metrics.perplexity(LM, params, TEXT, start=0).nll
    found = metrics.dynamic_perplexity(LM, params, TEXT, start=0, rates=[1.0], decay=1.0)
    assert found.nll == pytest.approx(plain, rel=1e-12)


def test_it_learns_from_a_text_that_repeats_itself_and_leaves_the_parameters(key):
    params, text = LM.init(key), np.tile([1, 2, 3, 4], 200)
    before = jax.tree.map(np.array, params)
    found = metrics.dynamic_perplexity(LM, params, text, start=0, rates=[1.0], seq_len=16)
    assert found.perplexity < 0.6 * metrics.perplexity(LM, params, text, start=0).perplexity
    jax.tree.map(np.testing.assert_array_equal, before, params)


def test_the_rate_is_the_best_on_the_validation_text(key):
    """And the text that is scored has no say in it."""
    params, repeated = LM.init(key), np.tile([1, 2, 3, 4], 100)
    found = {}
    for name, valid in (("random", TEXT), ("repeated", repeated)):
        options = {"start": 0, "seq_len": 16}
        alone = {
            rate: metrics.dynamic_perplexity(LM, params, valid, rates=[rate], **options).nll
            for rate in (0.0, 1.0, 4.0)
        }
        best = min(alone, key=alone.__getitem__)
        seen = []
        chosen, given = (
            metrics.dynamic_perplexity(
                LM,
                params,
                repeated,
                report=lambda *at: seen.append(at),  # noqa: B023
                **options,
                **more,
            )
            for more in ({"rates": [0.0, 1.0, 4.0], "valid": valid}, {"rates": [best]})
        )
        assert chosen.nll == given.nll and f"dynamic:{best:g}|" in chosen.signature
        assert seen[-1] == (400, 400) and (3 * len(valid) + 400,) * 2 in seen
        found[name] = best
    assert found["repeated"] > found["random"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 2.0}, "decay: must be from 0 to 1, got 2"),
        ({}, r"rates: one, or several and a text `valid` to choose on, got \[0.25, 0.5"),
        ({"rates": []}, r"rates: one, .* got \[\]"),
        ({"rates": ["fast"]}, "rates: must be a number, got 'fast'"),
        ({"rates": [1.0], "start": 5}, "start: token 5 is not in the vocabulary of 5"),
        ({"valid": [7]}, "valid: token 7 is not in the vocabulary of 5"),
    ],
)
def test_errors_name_the_argument(options, message, key):
    with pytest.raises(ValueError, match=message):
        metrics.dynamic_perplexity(LM, LM.init(key), TEXT, **{"start": 0, **options})
