"""Ids outside the vocabulary are NaN where they are computed, and refused where they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax.ids import is_word, nan_loss_outside, nan_outside, token_ids


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64])
def test_words_are_0_to_below_v_in_every_type_of_integer(dtype):
    high = np.iinfo(dtype).max
    ids = np.array([0, 11, 12, high, -1 if np.iinfo(dtype).min else high], dtype)
    assert is_word(ids, 12).tolist() == [True, True, False, False, False]
    assert is_word(ids[:2], 10**6).all()


@pytest.mark.parametrize("jit", [jax.jit, lambda f: f])
def test_the_derivative_of_a_nan_is_nan_but_that_of_a_masked_loss_is_zero(jit):
    ids, x = jnp.array([3, -100, 12, -1]), jnp.arange(1.0, 5)
    for f in (nan_outside, nan_loss_outside):
        np.testing.assert_array_equal(jit(lambda x, f=f: f(x, ids, 12))(x), [1, *[np.nan] * 3])
        gradient = jit(jax.grad(lambda x, f=f: (x[0] * f(x, ids, 12)).sum()))(x)
        assert np.isnan(gradient[1:]).all()
    masked = lambda x, ids: jnp.where(ids >= 0, nan_loss_outside(x, ids, 12), 0).sum()
    np.testing.assert_array_equal(jit(jax.grad(masked))(x, ids), [1, 0, np.nan, 0])
    tangent = jit(lambda x: jax.jvp(lambda x: nan_outside(x, ids, 12), (x,), (x + 1,))[1])(x)
    assert tangent[0] == 2 and np.isnan(tangent[1:]).all()


@pytest.mark.parametrize("ids", [[3, 0], np.array([3, 0], np.uint16), jnp.array([3, 0]), (3, 0)])
def test_a_list_is_as_good_as_an_array(ids):
    assert token_ids("prompt", ids, 4).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 12, 13], "prompt: token 12 is not in the vocabulary of 12"),
        ([0, -1], "prompt: token -1 is not in the vocabulary of 12"),
        ([2**32 + 1], "prompt: token 4294967297 is not"),
        ([[1], [2]], r"prompt: must be one sequence of token ids, got shape \(2, 1\)"),
        (3, r"prompt: must be one sequence of token ids, got shape \(\)"),
        ([1.0, 2.5], "prompt: token ids must be whole numbers, got float64"),
        (["a"], "prompt: token ids must be whole numbers"),
        ([None], "prompt: token ids must be whole numbers"),
    ],
)
def test_errors_name_the_argument_and_the_id(ids, message):
    with pytest.raises(ValueError, match=message):
        token_ids("prompt", ids, 12)
