"""The perplexity with a cache: the definition, and settings from the validation text alone."""

import numpy as np
import pytest
from small_model import LM, TIED, V, brute_log_probs

from lmjax import metrics, models

TEXT = np.random.default_rng(0).integers(0, V, 60)
REPEATED = np.tile([3, 1, 4], 20)


@pytest.mark.parametrize("lm", [LM, TIED], ids=["full", "tied"])
def test_it_is_the_mixture_written_out(lm, key):
    """With the cache's words weighed by theta, at every position of the text."""
    params = lm.init(key)
    found = metrics.cache_perplexity(lm, params, TEXT, valid=REPEATED, size=7, start=0)
    plain = metrics.perplexity(lm, params, TEXT, start=0)
    assert found.alone.nll == pytest.approx(plain.nll, rel=1e-12) and found.weight > 0.1
    assert found.alone.signature == plain.signature
    y, _ = metrics.token_features(lm, params, TEXT, start=0, seq_len=9)
    p = np.exp(brute_log_probs(lm, params, [0, *TEXT[:-1]]))[np.arange(60), TEXT]
    for t in range(1, 60):
        past = np.arange(max(t - 7, 0), t)
        weights = np.exp(found.theta * y[past] @ y[t])
        share = weights[TEXT[past] == TEXT[t]].sum() / weights.sum()
        p[t] += found.weight * (share - p[t])
    assert found.cached.nll == pytest.approx(-np.log(p).mean(), rel=1e-6)
    assert f"cache:7|theta:{found.theta:g}|lambda:{found.weight:g}" in found.cached.signature


def test_features_are_in_the_order_of_the_text(key):
    params = LM.init(key)
    y, logp = metrics.token_features(LM, params, TEXT[:7], start=0, batch_size=2, seq_len=3)
    first, second = (
        metrics.token_features(LM, params, ids, start=start)
        for ids, start in ((TEXT[:4], 0), (TEXT[4:7], TEXT[3]))
    )
    np.testing.assert_allclose(y, np.concatenate([first[0], second[0]]), rtol=1e-12)
    np.testing.assert_allclose(logp, np.concatenate([first[1], second[1]]), rtol=1e-12)


def test_the_settings_are_those_of_the_validation_text(key):
    """Words that never come back are no use to a cache, and one that does is."""
    params, once = LM.init(key), np.arange(V)
    for valid, useful in ((once, False), (REPEATED, True)):
        found = metrics.cache_perplexity(LM, params, REPEATED, valid=valid, size=V, start=0)
        assert (found.weight > 0.3) == useful == (found.cached.nll < found.alone.nll - 0.1)
    seen = []
    short = {"valid": [2], "size": 3, "start": 0, "report": lambda *at: seen.append(at)}
    assert metrics.cache_perplexity(LM, params, [5], **short).weight == 0
    assert seen == [(1, 2), (2, 2)]


def test_errors_name_the_argument(key):
    params = LM.init(key)
    with pytest.raises(ValueError, match="size: must be at least 1, got 0"):
        metrics.cache_perplexity(LM, params, TEXT, valid=TEXT, size=0, start=0)
    both = models.mixture(LM, TIED)
    with pytest.raises(ValueError, match="model: its features must be one array"):
        metrics.cache_perplexity(both, both.init(key), TEXT, valid=TEXT, size=3, start=0)
