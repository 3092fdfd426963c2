"""An average of the parameters is validated and kept, from where it begins."""

import chex
import jax
import numpy as np
import pytest
from toy import SMALL, VOCAB, scripted, stopped

from lmjax import train
from lmjax.train import loop

SGD = train.optimizer("sgd", 0.5)
ADAGRAD = train.optimizer("adagrad", 0.2, plateau=0.25)
EMA, MEAN, LATE = (train.Averaging(*fields) for fields in ((0.9,), (1.0,), (1.0, 2)))
SAMPLED = train.build(train.Model("rnn", hidden=4, head="sampled"), len(VOCAB))


def fit(noise, average, epochs, lm=SMALL, **options):
    """Six steps an epoch."""
    options = {"batch_size": 4, "bptt": 10, "transform": SGD, **options}
    return train.fit(lm, noise, jax.random.key(0), average=average, epochs=epochs, **options)


@pytest.fixture
def steps(monkeypatch):
    """The parameters after each step."""
    found, step = [], loop.step

    def noted(*args, **kwargs):
        state, metrics = step(*args, **kwargs)
        found.append(jax.tree.map(np.array, state.params))
        return state, metrics

    monkeypatch.setattr(loop, "step", noted)
    return found


def weighted(weights, trees):
    return jax.tree.map(lambda *xs: sum(w * x for w, x in zip(weights, xs, strict=True)), *trees)


def test_the_mean_is_that_of_the_parameters_after_each_step(noise, steps):
    run = fit(noise, MEAN, epochs=1)
    chex.assert_trees_all_close(run.params, weighted([1 / 6] * 6, steps), rtol=1e-12)


def test_a_moving_average_begins_as_a_mean_and_then_forgets(noise, steps, monkeypatch):
    scripted(monkeypatch, 9.0, 8.0, 7.0)
    run = fit(noise, EMA, epochs=3)
    weights = [0.1 * 0.9**8] * 10 + [0.1 * 0.9 ** (8 - k) for k in range(1, 9)]
    assert sum(weights) == pytest.approx(1)
    chex.assert_trees_all_close(run.params, weighted(weights, steps), rtol=1e-12)


def test_a_late_average_is_of_the_steps_since_the_validation_got_no_better(
    noise, steps, monkeypatch
):
    scripted(monkeypatch, 9.0, 8.0, 8.5, 8.1, 7.0, 6.0)
    run = fit(noise, LATE, epochs=6)
    chex.assert_trees_all_close(run.params, weighted([1 / 12] * 12, steps[24:]), rtol=1e-12)
    scripted(monkeypatch, 9.0, 8.0, 7.0)
    chex.assert_trees_all_equal(fit(noise, LATE, 3).params, steps[36 + 17])


def test_what_is_validated_is_the_average(noise):
    run, plain = fit(noise, MEAN, epochs=1), fit(noise, None, epochs=1)
    assert run.history.loss == plain.history.loss and run.valid != plain.valid


def test_the_average_of_a_training_on_rows_is_that_on_all_rows(noise, monkeypatch):
    scripted(monkeypatch, 9.0, 8.0, 9.0, 8.0)
    dense = SAMPLED._replace(head=SAMPLED.head._replace(rows=None))
    rows, whole = (fit(noise, EMA, epochs=2, lm=lm) for lm in (SAMPLED, dense))
    chex.assert_trees_all_close(rows.params, whole.params, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stop_at", [9, 21])
@pytest.mark.parametrize("average", [EMA, LATE])
def test_a_run_that_was_stopped_goes_on_with_its_average(
    noise, tmp_path, monkeypatch, average, stop_at
):
    """Of four epochs it is stopped within the second or the last; that one is averaged by both."""
    valid = [8.0, 8.5, 8.2, 7.0]
    run = lambda **options: fit(noise, average, epochs=4, transform=ADAGRAD, **options)
    scripted(monkeypatch, *valid)
    whole = run()
    scripted(monkeypatch, *valid)
    stopped(monkeypatch, stop_at, lambda: run(out=tmp_path))
    scripted(monkeypatch, *valid[stop_at // 6 :])
    resumed = run(out=tmp_path, resume=True)
    chex.assert_trees_all_equal(resumed, whole)


@pytest.mark.parametrize(
    ("average", "message"),
    [
        (train.Averaging(decay=1.5), r"average: decay must be in \[0, 1\], got 1.5"),
        (train.Averaging(patience=0), "average: patience: must be at least 1, got 0"),
    ],
)
def test_errors_name_the_argument(noise, average, message):
    with pytest.raises(ValueError, match=message):
        fit(noise, average, epochs=1)
