"""Sentences are translated in batches as each would be alone."""

import jax
import numpy as np
import pytest

from lmjax import cells
from lmjax.data import parallel
from lmjax.decoding import translate
from lmjax.models import translation

ENCODER = cells.bidirectional(cells.rnn(3, 4), cells.rnn(3, 4))
SIZES = {"source_size": 6, "target_size": 5, "embedding_size": 3}
MODEL = translation.translator(ENCODER, cells.rnn(3, 4), **SIZES, attention=translation.luong)
SOURCES = [[1, 2, 3, 0], [4, 0], [5, 5, 1, 0], [0]]


@pytest.fixture
def params(key):
    return jax.tree.map(lambda x: 4 * x, MODEL.init(key))


def test_in_a_batch_as_alone_the_best_first(params):
    reports = []
    found = translate(
        MODEL, params, SOURCES, end=0, size=3, tokens=8, report=lambda *at: reports.append(at)
    )
    assert reports[-1] == (4, 4) and len(found) == 4
    for source, several in zip(SOURCES, found, strict=True):
        scores = [t.score for t in several]
        assert scores == sorted(scores, reverse=True) and len(several) == 3
        assert all(0 not in t.ids and t.logp <= t.score <= 0 for t in several)
        ((best, *_),) = translate(MODEL, params, [source], end=0, size=3)
        assert best.ids == several[0].ids
        np.testing.assert_allclose(best.score, scores[0], rtol=1e-6)


def test_a_beam_of_one_takes_the_most_probable_word_each_time(params):
    found = translate(MODEL, params, SOURCES, end=0, size=1)
    for source, (only,) in zip(SOURCES, found, strict=True):
        ((_, batch),) = parallel.bucketed([(source, [*only.ids, 0])], tokens=1)
        length = len(only.ids) + 1
        assert length <= 2 * len(source) + 8
        logp = translation.log_prob(MODEL, params, batch)[:length, 0]
        np.testing.assert_allclose(only.logp, logp.sum(), rtol=1e-6)
        for word in range(5):
            other = batch._replace(targets=np.full_like(batch.targets, word))
            assert (translation.log_prob(MODEL, params, other)[:length, 0] <= logp + 1e-9).all()
