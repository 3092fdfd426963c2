"""Training of a translator: it learns, its perplexity is exact, and it goes on where it stopped."""

import jax
import numpy as np
import pytest

from lmjax import cells, data, models, train
from lmjax.models import translation

ENCODER = cells.bidirectional(cells.rnn(6, 6), cells.rnn(6, 6))
SIZES = {"source_size": 6, "target_size": 6, "embedding_size": 6}
MODEL = translation.translator(ENCODER, cells.rnn(6, 6), **SIZES, attention=translation.luong)
FIT = {"epochs": 4, "tokens": 32, "transform": train.optimizer("adam", 0.02)}


def reversed_words(count, seed):
    """Words 1 to 5 and an end, 0; the translation has them from the last to the first."""
    words = np.random.default_rng(seed).integers(1, 6, (count, 3)).tolist()
    return [([*x, 0], [*x[::-1], 0]) for x in words]


TRAIN, VALID = reversed_words(70, 0), reversed_words(11, 1)


@pytest.fixture(scope="module")
def whole():
    return train.fit_translator(MODEL, TRAIN, VALID, jax.random.key(0), **FIT)


def test_it_learns(whole):
    values = [valid for _, valid in whole.history.valid]
    assert values[-1] == whole.valid < 0.8 * values[0]


def test_the_perplexity_is_that_of_all_tokens_one_by_one(whole):
    total = 0.0
    for pair in VALID:
        ((_, batch),) = data.parallel.bucketed([pair], tokens=4)
        total += translation.log_prob(MODEL, whole.params, batch)[batch.mask].sum()
    assert whole.valid == pytest.approx(np.exp(-total / 44), rel=1e-6)


def test_a_run_that_was_interrupted_goes_on_to_the_same_end(whole, tmp_path):
    def stop(progress):
        if progress.valid is not None:
            raise KeyboardInterrupt

    run = lambda **more: train.fit_translator(
        MODEL, TRAIN, VALID, jax.random.key(0), **FIT, **more, out=tmp_path
    )
    with pytest.raises(KeyboardInterrupt):
        run(report=stop)
    assert run(resume=True).history == whole.history


def test_an_epoch_has_an_order_of_its_own(whole):
    first, second = np.split(np.array(whole.history.loss), 4)[:2]
    assert len(first) == data.parallel.batch_count(TRAIN, tokens=32)
    assert not np.array_equal(np.argsort(first), np.argsort(second))


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(ValueError, match="epochs: must be at least 1, got 0"):
        train.fit_translator(MODEL, TRAIN, VALID, jax.random.key(0), epochs=0)
    with pytest.raises(ValueError, match="no translator with a validation here, config"):
        train.load_translator(tmp_path)


def test_dropout_and_smoothing_act_in_training_alone(whole):
    noisy = translation.translator(
        ENCODER,
        cells.rnn(6, 6),
        **SIZES,
        attention=translation.luong,
        dropout=models.Dropout(input=0.5, output=0.5),
        label_smoothing=0.1,
    )
    ((_, batch),) = data.parallel.bucketed(VALID, tokens=44)
    score = lambda model: translation.log_prob(model, whole.params, batch)
    np.testing.assert_array_equal(score(noisy), score(MODEL))
    losses = [translation.loss(noisy, whole.params, batch, jax.random.key(k)) for k in (0, 1)]
    assert not np.allclose(*losses)
    np.testing.assert_allclose(
        translation.loss(MODEL, whole.params, batch, jax.random.key(0)), -score(MODEL), rtol=1e-6
    )


def test_what_all_sentences_have_in_common_does_not_shut_the_source_out(key):
    """However large the bridge has grown, a gradient comes back through the first state."""
    model = translation.translator(ENCODER, cells.rnn(6, 6), **SIZES)
    of_source, target = model.init(key)
    grown = of_source._replace(bridge=1e4 * of_source.bridge)
    (_, batch), *_ = data.parallel.bucketed(reversed_words(8, 0), tokens=32)
    total = lambda source: translation.log_prob(model, (source, target), batch).sum(
        where=batch.mask
    )
    embed = jax.grad(total)(grown).embed
    assert abs(embed).max() > 1e-3
