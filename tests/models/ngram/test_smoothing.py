"""Maximum likelihood and add-delta are the lecture's ratios."""

import numpy as np
import pytest
from story import TEXTS, brute_counts, count

from lmjax.models import ngram as ng


def test_maximum_likelihood_is_the_lectures_ratio():
    counts, vocab = count("story", 3)
    ids = TEXTS["story"][0]
    grams = brute_counts(ids, 3, vocab.eos)[2]
    logp = ng.log_probs(ng.index(ng.mle(counts)), np.array([g[:2] for g in grams], np.int32))
    for (a, b, w), p in zip(grams, np.exp(logp), strict=True):
        total = sum(c for g, c in grams.items() if g[:2] == (a, b))
        assert p[w - 1] == pytest.approx(grams[a, b, w] / total, rel=1e-5)


def test_add_delta_is_the_lectures_ratio():
    counts, vocab = count("story", 3)
    grams = brute_counts(TEXTS["story"][0], 3, vocab.eos)[2]
    some = [*grams][::40]
    contexts = np.array([g[:2] for g in some], np.int32)
    logp = ng.log_probs(ng.index(ng.add_delta(counts, 0.3)), contexts)
    for (a, b, _), p in zip(some, np.exp(logp), strict=True):
        c = np.array([grams.get((a, b, w), 0) for w in range(1, len(vocab) + 1)])
        np.testing.assert_allclose(p, (c + 0.3) / (c.sum() + 0.3 * len(vocab)), rtol=1e-5)
