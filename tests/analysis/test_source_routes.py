"""The routes' gradients sum to the whole, and each is blind to what the other sees."""

import jax
import jax.numpy as jnp
import numpy as np

from lmjax import analysis, cells, models
from lmjax.models import translation
from lmjax.models.language_model import lookup

SOURCE, MASK = jnp.array([[1], [3], [5]]), jnp.ones((3, 1), bool)
INPUTS, TARGETS = jnp.array([[0], [1], [3]]), jnp.array([[1], [3], [0]])


def routes(key, attention):
    encoder = cells.bidirectional(cells.gru(3, 4), cells.gru(3, 4))
    sizes = {"source_size": 6, "target_size": 4, "embedding_size": 3}
    model = translation.translator(encoder, cells.lstm(3, 5), **sizes, attention=attention)
    source, target = model.init(key)

    def read(xs):
        params, state = translation.read(model, source, target, xs[:, None], MASK)
        return (params.head.memory, params.head.keys), state

    def losses(attended, state):
        memory, keys = attended
        head = target.head._replace(memory=memory, keys=keys, mask=MASK)
        params = target._replace(head=head)
        return -models.log_prob(model.target, params, state, INPUTS, TARGETS)[1][:, 0]

    xs = lookup(source.embed, SOURCE[:, 0])
    whole = jax.jacrev(lambda xs: losses(*read(xs)))(xs)
    return analysis.source_gradients(read, losses, xs), whole


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
