"""The weights of features move by AdaGrad, and nothing else does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmjax import cells, models, train
from lmjax.models import maxent
from lmjax.train.adagrad import INITIAL

INNER = models.recurrent(cells.rnn(3, 3), vocab_size=9)
LM = maxent.maxent(INNER, maxent.hashed(9, 2, 6))


def test_it_is_sparse_adagrad_for_the_weights_and_the_transformation_for_all_else(key):
    """Only weights with a gradient move, and their sums; the rest moves as if it were alone."""
    params = LM.init(key)
    alone = params._replace(cell=params.cell.cell)
    sgd = train.optimizer("sgd", 0.5, max_norm=0.1)
    transform = train.features_by_adagrad(sgd, 0.3)
    state, other = transform.init(params), sgd.init(alone)
    theta, sums = np.zeros(64), np.full(64, INITIAL)
    touched = np.array([[3, 5], [5, 60]])
    for ids, k in zip(touched, jax.random.split(key), strict=True):
        gradient = jax.tree.map(lambda x, k=k: jax.random.normal(k, x.shape), params)
        of_theta = jnp.zeros(64).at[ids].set(gradient.cell.features[ids])
        gradient = gradient._replace(cell=gradient.cell._replace(features=of_theta))
        updates, state = jax.jit(transform.update)(gradient, state, params)
        params = optax.apply_updates(params, updates)
        of_others = gradient._replace(cell=gradient.cell.cell)
        updates, other = jax.jit(sgd.update)(of_others, other, alone)
        alone = optax.apply_updates(alone, updates)
        g = np.asarray(of_theta)[ids]
        sums[ids] += g**2
        theta[ids] -= 0.3 * g / np.sqrt(sums[ids])
    np.testing.assert_allclose(params.cell.features, theta, rtol=1e-9)
    chex.assert_trees_all_close(params._replace(cell=params.cell.cell), alone, rtol=1e-12)


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(ValueError, match="learning_rate: must be positive and finite, got 0"):
        train.features_by_adagrad(train.optimizer(), 0)
