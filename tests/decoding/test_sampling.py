"""Samples follow the distribution of the model, or what top-k and top-p leave of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import LM, V, brute_log_probs

from lmjax import decoding, models
from lmjax.decoding.sampling import _sample


def test_greedy_takes_the_most_probable_word(key):
    params, tokens = LM.init(key), [0, 1]
    found = decoding.generate(LM, params, tokens, key, length=4, temperature=0)
    for token in found:
        assert token == brute_log_probs(LM, params, tokens)[-1].argmax()
        tokens.append(int(token))


def test_samples_follow_the_distribution(key):
    params = LM.init(key)
    params = params._replace(head=params.head._replace(b=jnp.linspace(-1, 1, V)))
    draw = jax.vmap(lambda k: _sample(LM, params, start, k, 1, 1.0, None, None, (2,)))
    start = LM.cell.initial_state(params.cell)
    drawn = np.bincount(np.ravel(draw(jax.random.split(key, 4000))), minlength=V) / 4000
    p = np.array(jnp.exp(models.next_log_probs(LM, params, start)))
    p[2] = 0
    np.testing.assert_allclose(drawn, p / p.sum(), atol=0.03)
    assert drawn[2] == 0


def test_top_k_and_top_p_keep_the_most_probable():
    p = np.array([0.1, 0.4, 0.2, 0.3])
    kept = lambda **options: np.flatnonzero(
        np.isfinite(decoding.truncate(jnp.log(p), **options))
    ).tolist()
    assert kept(top_k=2) == [1, 3] and kept(top_k=9) == [0, 1, 2, 3]
    assert kept(top_p=0.69) == [1, 3] and kept(top_p=0.71) == [1, 2, 3] and kept(top_p=1e-9) == [1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, k: decoding.generate(LM, p, [], k, length=1), "at least one token"),
        (
            lambda p, k: decoding.generate(LM, p, [1], k, length=-1),
            "length must be at least 0, got -1",
        ),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, temperature=-1), "temperature"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, top_k=0), "top_k"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, top_p=0), "top_p"),
    ],
)
def test_errors_name_the_argument(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(LM.init(key), key)
