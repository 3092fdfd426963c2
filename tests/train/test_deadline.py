"""Under a budget of minutes the learning rate ends with it, by a clock of one second a step."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import SMALL, stopped

from lmjax import train
from lmjax.train import course, loop
from lmjax.train.deadline import advance

LR, TOTAL = 0.1, 180  # of 30 epochs
SGD = train.optimizer("sgd", LR, steps=TOTAL)


@pytest.fixture
def rates(monkeypatch):
    """The learning rate of each step: how far SGD went, by the gradient."""
    found, step, clock = [], loop.step, SimpleNamespace(now=100.0, second=1.0)

    def timed(lm, transform, state, batch, **options):
        before = jax.tree.map(np.array, state.params)
        state, metrics = step(lm, transform, state, batch, **options)
        moved = optax.tree.norm(jax.tree.map(jnp.subtract, state.params, before))
        found.append(float(moved / state.opt[0].clipped_norm))
        clock.now += clock.second
        return state, metrics

    monkeypatch.setattr(loop, "step", timed)
    monkeypatch.setattr(course, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(loop, "_validate", lambda *_: 5.0)
    return SimpleNamespace(found=found, clock=clock)


def fit(noise, epochs=30, **options):
    options = {"batch_size": 4, "bptt": 10, "transform": SGD, "epochs": epochs, **options}
    return train.fit(SMALL, noise, jax.random.key(0), **options)


def cosine(steps):
    return LR / 2 * (1 + np.cos(np.pi * np.asarray(steps) / TOTAL))


def test_the_rate_falls_with_the_minutes_to_nothing(noise, rates):
    run = fit(noise, minutes=20 / 60)
    np.testing.assert_allclose(rates.found, cosine(9 * np.arange(20)), rtol=1e-6)
    assert rates.found[-1] < 0.01 * LR and len(run.history.valid) == 4


def test_the_rate_is_that_of_the_steps_where_they_are_farther(noise, rates):
    fit(noise, epochs=3, minutes=9)
    np.testing.assert_allclose(rates.found, cosine(range(18)), rtol=1e-6)


def test_time_that_does_not_matter_changes_no_digit(noise, rates):
    rates.clock.second = 1e-3
    chex.assert_trees_all_equal(fit(noise, epochs=2, minutes=9), fit(noise, epochs=2))


def test_a_resumed_run_has_the_minutes_that_are_left(noise, rates, tmp_path, monkeypatch):
    stopped(monkeypatch, 9, lambda: fit(noise, minutes=20 / 60, out=tmp_path))
    rates.clock.now += 3600
    for _ in range(2):  # the second time there are none
        run = fit(noise, minutes=20 / 60, out=tmp_path, resume=True)
        np.testing.assert_allclose(rates.found, cosine(9 * np.arange(20)), rtol=1e-6)
    assert len(run.history.valid) == 4


def test_schedules_within_other_transformations_advance_and_nothing_else_does():
    schedule = optax.linear_schedule(1.0, 0.0, 10)
    state = optax.chain(optax.adamw(schedule), optax.contrib.reduce_on_plateau()).init(jnp.ones(2))
    later = advance(state, 7)
    counts = [int(count) for _, count in optax.tree.get_all_with_path(later, "count")]
    assert sorted(counts) == [0, 0, 7]
    gathered = optax.MultiSteps(optax.sgd(schedule), 2).init(jnp.ones(2))
    chex.assert_trees_all_equal(advance(gathered, 7), gathered)
