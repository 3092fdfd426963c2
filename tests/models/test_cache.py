"""The cache, against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax.models import cache_log_prob, with_cache


@pytest.mark.parametrize("theta", [0.0, 0.7])
@pytest.mark.parametrize("size", [1, 5, 400])
@pytest.mark.parametrize("length", [1, 300])
def test_it_is_the_share_of_the_word_among_the_last(length, size, theta, key):
    y = np.asarray(jax.random.normal(key, (length, 3)))
    words = np.asarray(jax.random.randint(key, (length,), 0, 7))
    found = np.exp(cache_log_prob(y, words, size=size, theta=theta))
    for t in range(length):
        past = range(max(t - size, 0), t)
        weight = {i: np.exp(theta * y[i] @ y[t]) for i in past}
        expected = sum(weight[i] for i in past if words[i] == words[t])
        np.testing.assert_allclose(
            found[t], expected / sum(weight.values()) if past else 0, rtol=1e-10
        )


def test_a_mixture_with_the_cache_is_a_distribution(key):
    """Over what might stand at one position, the text before it given."""
    y, before = jax.random.normal(key, (6, 3)), [0, 2, 2, 1, 0]
    logp = jax.nn.log_softmax(jax.random.normal(key, (4,)))
    for length in (0, 5):
        total = 0.0
        for w in range(4):
            words = jnp.array([*before[:length], w])
            cached = cache_log_prob(y[: length + 1], words, size=3, theta=0.5)
            total += jnp.exp(with_cache(jnp.full(length + 1, logp[w]), cached, 0.3)[-1])
        np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="size: must be at least 1, got 0"):
        cache_log_prob(jnp.zeros((2, 1)), jnp.zeros(2, int), size=0)
