"""The routes' gradients sum to the whole, and each is blind to what the other sees."""

from functools import partial

import jax
import numpy as np

from lmjax import analysis, cells
from lmjax.data import parallel
from lmjax.models import translation

SOURCE, TARGET = [1, 3, 5], [1, 3, 0]


def routes(key, attention):
    encoder = cells.bidirectional(cells.gru(3, 4), cells.gru(3, 4))
    sizes = {"source_size": 6, "target_size": 4, "embedding_size": 3}
    model = translation.translator(encoder, cells.lstm(3, 5), **sizes, attention=attention)
    params = model.init(key)
    read, losses, xs = translation.of_source(model, params, SOURCE, TARGET)
    found = jax.jit(lambda xs: analysis.source_gradients(read, losses, xs))(xs)
    ((_, batch),) = parallel.bucketed([(SOURCE, TARGET)], tokens=1)
    logp = jax.jit(partial(translation.log_prob, model))(params, batch)
    np.testing.assert_allclose(found.losses, -logp[:, 0], rtol=1e-10)
    return found, jax.jit(jax.jacrev(lambda xs: losses(*read(xs))))(xs)


def test_the_routes_sum_to_the_whole(key):
    found, whole = routes(key, translation.luong)
    np.testing.assert_allclose(found.attention + found.recurrence, whole, rtol=1e-10, atol=1e-14)
    shares = analysis.route_shares(found)
    other = (found.recurrence * whole).sum(-1) / np.square(whole).sum(-1)
    np.testing.assert_allclose(shares + other, 1, rtol=1e-10)


def test_without_attention_all_comes_through_the_recurrence(key):
    found, whole = routes(key, None)
    np.testing.assert_array_equal(found.attention, np.zeros_like(whole))
    np.testing.assert_allclose(analysis.route_shares(found), 0)
