"""A model is built from its description, or the argument that forbids it is named."""

import pytest

from lmjax import models, train


def test_every_rate_and_weight_has_a_flag():
    flags = {"drop_embedding": 0.1, "drop_between": 0.2, "temporal_penalty": 3.0}
    lm = train.build(train.Model(hidden=4, layers=2, drop_recurrent=0.4, **flags), 9)
    assert lm.dropout == models.Dropout(recurrent=0.4, embedding=0.1, between=0.2)
    assert lm.penalties == models.Penalties(temporal=3.0)


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
            "head: must be one of softmax, tied, adaptive, sampled, tied_sampled, nce, blackout, ",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
