"""A model is built from its description, or the argument that forbids it is named."""

from dataclasses import asdict

import chex
import jax
import numpy as np
import pytest
from toy import VOCAB

from lmjax import decoding, models, train


def test_every_rate_and_weight_has_a_flag():
    flags = {"drop_embedding": 0.1, "drop_between": 0.2, "temporal_penalty": 3.0}
    lm = train.build(train.Model(hidden=4, layers=2, drop_recurrent=0.4, **flags), 9)
    assert lm.dropout == models.Dropout(recurrent=0.4, embedding=0.1, between=0.2)
    assert lm.penalties == models.Penalties(temporal=3.0)


def test_a_run_with_ngrams_beside_it_goes_on_and_comes_back(noise, tmp_path):
    model = train.Model(cell="rnn", hidden=4, maxent=3)
    lm = train.build(model, len(VOCAB), train.links_of(model, noise.train, len(VOCAB)))
    options = {"batch_size": 4, "bptt": 10, "transform": train.optimizer("adam", 0.05)}
    run = lambda **more: train.fit(lm, noise, jax.random.key(0), **options, **more)
    whole = run(epochs=2)
    train.describe(tmp_path, model, {}, vocab=asdict(VOCAB))
    run(epochs=1, out=tmp_path)
    chex.assert_trees_all_equal(run(epochs=2, out=tmp_path, resume=True), whole)
    back = train.load_run(tmp_path)
    chex.assert_trees_all_equal(back.params, whole.params)
    assert np.abs(back.params.cell.features.theta).max() > 0.01
    suggestions = [decoding.suggest(m, whole.params, [1, 2], count=3) for m in (lm, back.lm)]
    assert suggestions[0] == suggestions[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: train.build(train.Model(cell="lsd"), 9),
            "cell: must be one of rnn, irnn, lstm, lstm_projected, lstm_layer_norm, gru, "
            "gru_reset_after, mingru, diagonal, window, "
            "got 'lsd'",
        ),
        (lambda: train.build(train.Model(layers=0), 9), "layers: must be at least 1"),
        (
            lambda: train.build(train.Model(hidden=4, embedding=3, head="tied"), 9),
            "head: tied needs embedding equal to hidden",
        ),
        (
            lambda: train.build(train.Model(head="hat"), 9),
            "head: must be one of softmax, tied, adaptive, tied_adaptive, sampled, tied_sampled, ",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
