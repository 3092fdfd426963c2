"""A factory takes its arguments in any form, and returns one and the same thing for them."""

import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import analysis, cells, heads, models
from lmjax.cells import initial


@pytest.mark.parametrize(
    "cutoffs", [[4, 8], (np.int64(4), 8), np.array([4, 8]), jnp.array([4, 8]), range(4, 12, 4)]
)
def test_cutoffs_may_be_a_list_as_in_torch(cutoffs):
    assert heads.adaptive(64, 12, cutoffs=cutoffs) is heads.adaptive(64, 12, cutoffs=(4, 8))


@pytest.mark.parametrize(
    "make",
    [
        lambda: cells.lstm(np.int64(8), jnp.int32(8)),
        lambda: cells.lstm(n=8, n_in=8),
        lambda: cells.lstm(8, 8, forget_bias=np.float32(1)),
        lambda: cells.lstm(8, 8, w_h=initial.orthogonal(jnp.ones(()))),
    ],
)
def test_the_same_arguments_in_another_form_give_the_same_cell(make):
    assert make() is cells.lstm(8, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: heads.adaptive(64, 12, cutoffs=(4.5,)), r"adaptive: cutoffs\[0\]: .*got 4.5"),
        (lambda: heads.adaptive(64, 12, cutoffs=4), "adaptive: cutoffs: must be a tuple, got 4"),
        (lambda: heads.softmax(8, [12]), r"softmax: vocab_size: .* whole number, got \[12\]"),
        (lambda: heads.softmax(0, 12), "n: must be at least 1, got 0"),
        (lambda: heads.tied(-3), "vocab_size: must be at least 1, got -3"),
        (lambda: heads.zipf(12, jnp.nan), "zipf: power: must be a number, got nan"),
        (lambda: cells.lstm(8.0, 8), "lstm: n_in: must be a whole number, got 8.0"),
        (lambda: cells.mingru(None, 3), "mingru: n_in: must be a whole number, got None"),
        (lambda: cells.lstm(8, 8, forget_bias=[1.0]), "lstm: forget_bias: must be a number"),
        (lambda: cells.rnn(8, 8, w_h=[1]), r"rnn: w_h: must be hashable, .* got \[1\]"),
        (lambda: cells.stack([cells.rnn(2, 2)]), r"stack: cells\[0\]: must be a Cell"),
        (lambda: initial.spectral(jnp.nan), "spectral: radius: must be a number, got nan"),
        (lambda: models.recurrent(cells.rnn, vocab_size=9), "recurrent: cell: must be a Cell"),
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=9, head=heads.softmax),
            "recurrent: head: must be a Head",
        ),
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=9, embedding_size=0),
            "embedding_size: must be at least 1, got 0",
        ),
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=9, segment=0),
            "segment: must be at least 1, got 0",
        ),
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=9, dropout=models.Dropout([0.1])),
            "recurrent: dropout: must be hashable",
        ),
        (
            lambda: models.recurrent(
                cells.rnn(2, 2), vocab_size=9, dropout=models.Dropout(jnp.nan)
            ),
            r"dropout.input must be in \[0, 1\), got nan",
        ),
        (lambda: models.mixture([1]), r"mixture: lms\[0\]: must be a LanguageModel, got \[1\]"),
        (lambda: models.ngram.ngram(4, 0, eos=0), "order: must be at least 1, got 0"),
        (lambda: models.ngram.ngram(4, 2, eos=4), "eos: token 4 is not in the vocabulary of 4"),
        (lambda: analysis.detach(cells.rnn(2, 2), 3), r"detach: names\[0\]: must be a str, got 3"),
    ],
)
def test_errors_name_factory_and_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_arguments_that_are_missing_or_too_many_are_named():
    with pytest.raises(TypeError, match="lstm: missing a required argument: 'n'"):
        cells.lstm(8)
    with pytest.raises(TypeError, match=r"lstm: .* unexpected keyword argument 'bias'"):
        cells.lstm(8, 8, bias=1)
