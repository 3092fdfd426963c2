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


def test_numbers_of_any_type_are_taken(key):
    params = LM.init(key)
    sample = lambda **how: decoding.generate(LM, params, [1], key, length=4, **how)
    same = (
        sample(top_k=3, top_p=0.5, exclude=(2,)),
        sample(top_k=np.int64(3), top_p=jnp.float32(0.5), exclude=jnp.array([2])),
    )
    np.testing.assert_array_equal(*same)


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
            "length: must be at least 0, got -1",
        ),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, temperature=-1), "temperature"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, top_k=0), "top_k"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, top_p=0), "top_p"),
        (lambda p, k: decoding.generate(LM, p, [99], k, length=1), "prompt: token 99 is not"),
        (lambda p, k: decoding.generate(LM, p, [-1], k, length=1), "prompt: token -1 is not"),
        (lambda p, k: decoding.generate(LM, p, [1.5], k, length=1), "prompt: .*float64"),
        (lambda p, k: decoding.generate(LM, p, [[1]], k, length=1), r"prompt: .*\(1, 1\)"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=2.5), "length: .*whole.*2.5"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, top_k=2.5), "top_k: .*whole"),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, top_p=jnp.nan), "top_p: .*nan"),
        (
            lambda p, k: decoding.generate(LM, p, [1], k, length=1, temperature=jnp.inf),
            "temperature: must be at least 0 and finite, got inf",
        ),
        (lambda p, k: decoding.generate(LM, p, [1], k, length=1, exclude=(V,)), "exclude: token"),
        (
            lambda p, k: decoding.generate(LM, p, [1], k, length=1, exclude=range(V)),
            f"exclude: must leave a word, got all {V}",
        ),
        (lambda p, k: decoding.truncate(jnp.zeros(3), top_k=0), "top_k: must be at least 1"),
        (lambda p, k: decoding.truncate(jnp.zeros(3), top_p=jnp.nan), "top_p: must be in"),
    ],
)
def test_errors_name_the_argument(call, message, key):
    with pytest.raises(ValueError, match=message):
        call(LM.init(key), key)
