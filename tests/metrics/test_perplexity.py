"""Perplexity is the definition, however the stream is cut."""

import jax.numpy as jnp
import numpy as np
import pytest
from small_model import LM, TIED, V, brute_log_probs

from lmjax import metrics, models


@pytest.mark.parametrize("lm", [LM, TIED], ids=["full", "tied"])
def test_log_probs_and_perplexity_are_the_definitions(lm, key):
    params, tokens = lm.init(key), np.array([3, 1, 4, 1, 5, 9, 2, 6])
    expected = brute_log_probs(lm, params, [0, *tokens[:-1]])
    picked = expected[np.arange(8), tokens]
    for seq_len in (3, 8, 100):
        result = metrics.perplexity(lm, params, tokens, start=0, seq_len=seq_len)
        assert result.nll == pytest.approx(-picked.mean(), rel=1e-12) and result.tokens == 8
        assert result.perplexity == pytest.approx(float(np.exp(-picked.mean())))
    final, _ = models.states(
        lm, params, lm.cell.initial_state(params.cell), jnp.array([0, *tokens[:-1]])
    )
    np.testing.assert_allclose(models.next_log_probs(lm, params, final), expected[-1], rtol=1e-12)


def test_sequences_of_a_batch_are_scored_without_context(key):
    params, tokens = LM.init(key), np.array([3, 1, 4, 1, 5, 9])
    halves = [
        metrics.perplexity(LM, params, t, start=s).nll
        for t, s in ((tokens[:3], 0), (tokens[3:], 4))
    ]
    assert metrics.perplexity(LM, params, tokens, start=0, batch_size=2).nll == pytest.approx(
        np.mean(halves)
    )


def test_perplexity_does_not_depend_on_how_many_tokens_are_scored_at_once(key):
    params, tokens = LM.init(key), np.random.default_rng(2).integers(0, V, 50)
    nll = [metrics.perplexity(LM, params, tokens, start=0, seq_len=k).nll for k in (7, 50)]
    assert nll[0] == pytest.approx(nll[1], rel=1e-12)


def test_unknown_words_are_counted_and_left_out_of_a_second_perplexity(key):
    """Their contexts stay as they were: the known tokens' log-probabilities are the same."""
    params, tokens = LM.init(key), np.array([3, 1, 4, 1, 5, 9, 2, 6])
    logp = brute_log_probs(LM, params, [0, *tokens[:-1]])[np.arange(8), tokens]
    for unknown, kept in ((1, tokens != 1), (7, np.ones(8, bool)), (-1, np.ones(8, bool))):
        for batch in ({"seq_len": 3}, {"seq_len": 100}):
            result = metrics.perplexity(LM, params, tokens, start=0, unknown=unknown, **batch)
            assert (result.tokens, result.oov) == (8, 8 - kept.sum())
            assert result.nll == pytest.approx(-logp.mean(), rel=1e-12)
            assert result.perplexity_without_oov == pytest.approx(np.exp(-logp[kept].mean()))
    result = metrics.perplexity(LM, params, np.array([1, 1]), start=0, unknown=1, batch_size=2)
    assert result.oov == 2 and np.isnan(result.perplexity_without_oov)


def test_a_token_of_probability_0_spoils_the_perplexities_that_hold_it_alone(key):
    params, tokens = LM.init(key), np.array([3, 1, 4])
    head = params.head._replace(b=params.head.b.at[1].set(-jnp.inf))
    result = metrics.perplexity(LM, params._replace(head=head), tokens, start=0, unknown=1)
    assert result.perplexity == np.inf and 1 < result.perplexity_without_oov < np.inf


def test_a_list_of_tokens_is_as_good_as_an_array(key):
    params = LM.init(key)
    nll = [metrics.perplexity(LM, params, t, start=0).nll for t in ([3, 1], jnp.array([3, 1]))]
    assert nll[0] == nll[1]


def test_unigram_is_the_law_of_succession():
    ids = np.array([0, 0, 1])
    counts = np.array([3, 2, 1]) / 6
    expected = np.exp(-np.log(counts[[1, 2]]).mean())
    assert metrics.unigram_perplexity(ids, np.array([1, 2]), 3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: metrics.perplexity(LM, p, np.array([V]), start=0),
            f"token {V} is not in the vocabulary",
        ),
        (lambda p: metrics.perplexity(LM, p, np.array([], int), start=0), "no tokens"),
        (lambda p: metrics.perplexity(LM, p, [3, -1], start=0), "ids: token -1 is not"),
        (lambda p: metrics.perplexity(LM, p, [3], start=V), f"start: token {V} is not"),
        (lambda p: metrics.perplexity(LM, p, [3], start=-1), "start: token -1 is not"),
        (lambda p: metrics.perplexity(LM, p, [1.5], start=0), "ids: .* whole numbers, got float64"),
        (lambda p: metrics.perplexity(LM, p, [[1], [2]], start=0), r"ids: .* shape \(2, 1\)"),
        (lambda p: metrics.unigram_perplexity([0, 1], [-1], 2), "ids: token -1 is not"),
        (lambda p: metrics.unigram_perplexity([0, 5], [1], 2), "train: token 5 is not"),
        (lambda p: metrics.unigram_perplexity([0, 1], [], 2), "ids: must have at least one"),
    ],
)
def test_errors_name_the_argument(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(LM.init(key))
