"""Training learns, repeats itself, resumes where it stopped, and says when it cannot."""

import signal
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import LM, SEGMENTED, SHORT, SMALL, VOCAB, fit, scripted, stopped

from lmjax import cells, heads, metrics, models, train
from lmjax.analysis import recurrent_spectrum, state_gradients
from lmjax.cell import Cell
from lmjax.train import checkpoint, loop


def test_it_learns_and_repeats_to_the_last_digit(corpus):
    run = fit(corpus)
    baseline = metrics.unigram_perplexity(corpus.train, corpus.test, len(VOCAB))
    assert (
        metrics.perplexity(LM, run.params, corpus.test, start=VOCAB.eos).perplexity < 0.6 * baseline
    )
    assert run.history.tokens[-1] == 3 * len(corpus.train) and len(run.history.loss) == 90
    chex.assert_trees_all_equal(run, fit(corpus))


@pytest.mark.parametrize("head", ["softmax", "sampled"])
def test_one_trace_serves_the_whole_run(corpus, head):
    before = train.step._cache_size()
    lm = train.build(train.Model("gru", hidden=4, head=head), len(VOCAB))
    run = fit(corpus, lm)
    assert train.step._cache_size() == before + 1
    seen, perplexity, valid = train.learning_curve(run.history)
    assert len(seen) == len(perplexity) == (90 if head == "softmax" else 0) and len(valid) == 3


def test_two_epochs_with_a_ragged_end_trace_each_step_once(noise, monkeypatch):
    """203 tokens in 4 sequences, 10 at a time: the last batch is short, in validation too."""
    chex.clear_trace_counter()
    counted = lambda function, **jit: jax.jit(
        chex.assert_max_traces(function.__wrapped__, 1), **jit
    )
    step = counted(
        train.step, static_argnames=("lm", "transform", "reset"), donate_argnames="state"
    )
    monkeypatch.setattr(train.loop, "step", step)
    score = sys.modules["lmjax.metrics.perplexity"]
    monkeypatch.setattr(score, "_score", counted(score._score, static_argnames="lm"))
    options = {"epochs": 2, "batch_size": 4, "bptt": 10, "transform": SHORT}
    run = train.fit(SMALL, noise, jax.random.key(0), **options)
    assert len(run.history.loss) == 12 and len(run.history.valid) == 2


def test_a_report_comes_before_the_first_step_and_after_it(noise):
    reports = []
    train.fit(
        SMALL,
        noise,
        jax.random.key(0),
        epochs=1,
        batch_size=4,
        bptt=10,
        transform=SHORT,
        report=reports.append,
    )
    assert (
        [r.step for r in reports[:2]] == [0, 1]
        and np.isnan(reports[0].loss)
        and reports[1].loss > 0
    )


def test_segments_leave_training_as_it_is(noise):
    runs = [
        train.fit(lm, noise, jax.random.key(0), epochs=1, batch_size=4, bptt=20, transform=SHORT)
        for lm in (SMALL, SEGMENTED)
    ]
    chex.assert_trees_all_close(runs[0].params, runs[1].params, rtol=1e-9)


@pytest.mark.parametrize(
    "head", [heads.softmax(4, len(VOCAB)), heads.sampled(4, len(VOCAB), samples=3)]
)
def test_training_in_half_precision_keeps_single_precision_parameters(corpus, head):
    lm = models.recurrent(cells.gru(4, 4), vocab_size=len(VOCAB), head=head, dtype=jnp.bfloat16)
    run = fit(corpus, lm)
    assert np.isfinite(run.valid) and run.valid < len(VOCAB)
    assert jnp.bfloat16 not in {x.dtype for x in jax.tree.leaves((run.params, run.opt))}


@pytest.mark.parametrize("stop_at", [7, 30, 45])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(corpus, tmp_path, monkeypatch, stop_at):
    whole = fit(corpus)
    stopped(monkeypatch, stop_at, lambda: fit(corpus, out=tmp_path))
    resumed = fit(corpus, out=tmp_path, resume=True)
    chex.assert_trees_all_equal(resumed, whole)
    assert train.load_history(tmp_path) == whole.history


def test_early_stopping_keeps_the_best(corpus):
    """A validation text without the training text's order is predicted worse and worse."""
    noise = np.random.default_rng(1).integers(0, len(VOCAB), 300).astype(np.int32)
    run = fit(corpus._replace(valid=noise), patience=1, epochs=6)
    valid = [v for _, v in run.history.valid]
    assert len(valid) == 2 and run.valid == valid[0] < valid[1]
    again = metrics.perplexity(LM, run.params, noise, start=VOCAB.eos, batch_size=5)
    assert again.perplexity == pytest.approx(run.valid)


def test_minutes_end_a_run_with_a_validation(corpus):
    run = fit(corpus, minutes=0)
    assert len(run.history.loss) == 1 and len(run.history.valid) == 1


def test_a_loss_that_is_not_finite_ends_the_run(corpus):
    broken = LM._replace(embed=lambda embed, tokens: jnp.nan * embed[tokens])
    with pytest.raises(FloatingPointError, match="not finite at step"):
        fit(corpus, broken)


def test_a_cell_of_three_lines_trains_and_is_diagnosed(corpus, key):
    leaky = Cell(
        init=lambda key: {"a": jnp.asarray(0.5), "w_h": 0.3 * jax.random.normal(key, (8, 8))},
        initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 8)),
        step=lambda params, h, x: params["a"] * h + jnp.tanh(x + h @ params["w_h"]),
    )
    lm = models.recurrent(leaky, vocab_size=len(VOCAB))
    run = fit(corpus, lm)
    assert run.valid < 0.8 * metrics.unigram_perplexity(corpus.train, corpus.valid, len(VOCAB))
    tokens, target = jnp.asarray(corpus.test[:20]), jnp.asarray(corpus.test[1:21])
    loss = lambda p, h, y: -lm.head.log_prob(run.params, h, y)
    xs = lm.embed(run.params.embed, tokens)
    flow = state_gradients(
        leaky, run.params.cell, leaky.initial_state(run.params.cell), xs, loss, target
    )
    assert np.isfinite(flow.log_total).all()
    assert recurrent_spectrum(run.params.cell["w_h"]).spectral_radius > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: fit(c, epochs=0), "epochs: must be at least 1, got 0"),
        (lambda c: fit(c, batch_size=-2), "batch_size: must be at least 1, got -2"),
        (lambda c: fit(c, patience=0), "patience: must be at least 1, got 0"),
        (lambda c: fit(c, resume=True), "resume: out must name the directory"),
    ],
)
def test_errors_name_the_argument(corpus, call, message):
    with pytest.raises(ValueError, match=message):
        call(corpus)


def test_a_validation_that_is_not_finite_is_never_the_best_and_spoils_no_later_one(
    noise, monkeypatch
):
    scripted(monkeypatch, np.nan, 9.0, np.inf, 8.0, np.nan)
    run = train.fit(SMALL, noise, jax.random.key(0), epochs=5, batch_size=4, bptt=60)
    assert run.valid == 8.0
    np.testing.assert_equal([v for _, v in run.history.valid], [np.nan, 9.0, np.inf, 8.0, np.nan])


def test_a_training_without_a_finite_validation_has_no_result(noise, monkeypatch, tmp_path):
    for resume in (False, True):
        scripted(monkeypatch, np.nan, np.inf)
        with pytest.raises(FloatingPointError, match="no validation perplexity was finite"):
            train.fit(
                *(SMALL, noise, jax.random.key(0)),
                **{"epochs": 2, "batch_size": 4, "bptt": 60, "out": tmp_path, "resume": resume},
            )
    assert not (tmp_path / "best.safetensors").exists()


def test_a_run_that_patience_ended_stays_ended_and_goes_on_with_more_of_it(
    noise, monkeypatch, tmp_path
):
    fit = lambda **options: train.fit(
        *(SMALL, noise, jax.random.key(0)),
        **{"epochs": 9, "batch_size": 4, "bptt": 60, "out": tmp_path, **options},
    )
    scripted(monkeypatch, 5.0, 6.0, 7.0)
    assert len(fit(patience=2).history.valid) == 3
    assert len(fit(patience=2, resume=True).history.valid) == 3
    scripted(monkeypatch, 8.0, 9.0)
    assert len(fit(patience=3, resume=True).history.valid) == 4


def test_more_epochs_at_a_constant_rate_are_those_of_a_longer_run(corpus, tmp_path):
    constant = {"transform": train.optimizer("adam", 0.02)}
    fit(corpus, epochs=1, out=tmp_path, **constant)
    longer = fit(corpus, epochs=3, out=tmp_path, resume=True, **constant)
    chex.assert_trees_all_equal(longer, fit(corpus, epochs=3, **constant))


def test_out_may_be_a_string_whose_parents_are_missing(noise, tmp_path):
    out = f"{tmp_path}/a/b"
    run = train.fit(
        SMALL, noise, jax.random.key(0), epochs=1, batch_size=4, bptt=60, out=out, resume=True
    )
    assert train.load_history(out) == run.history


def test_a_training_begins_with_the_parameters_given_and_leaves_them(corpus):
    first = fit(corpus, epochs=1)
    given = jax.tree.map(np.asarray, first.params)
    still = fit(corpus, epochs=1, transform=optax.sgd(1e-9), params=first.params)
    chex.assert_trees_all_close(still.params, given, atol=1e-6)
    chex.assert_trees_all_equal(first.params, given)
    with pytest.raises(ValueError, match=r"params: .embed of shape \(6, 8\) in the model, \(3,\)"):
        fit(corpus, params=first.params._replace(embed=np.ones(3)))


def test_a_plateau_counts_validations_not_steps(noise, monkeypatch, tmp_path):
    """Two epochs without a better validation halve the rate, and a broken run goes on the same."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
    options = {"batch_size": 4, "bptt": 10, "transform": optax.chain(optax.adam(0.01), plateau)}
    run = lambda **more: train.fit(SMALL, noise, jax.random.key(0), **options, **more)
    scripted(monkeypatch, 9.0, 8.0, 8.5, 8.4, 8.3, 7.0)
    whole = run(epochs=6)
    state = whole.opt[1]
    assert float(state.scale) == 0.5 and float(state.best_value) == 7.0
    scripted(monkeypatch, 9.0, 8.0, 8.5, 8.4, 8.3, 7.0)
    run(epochs=3, out=tmp_path)
    chex.assert_trees_all_equal(run(epochs=6, out=tmp_path, resume=True), whole)


def test_a_checkpoint_of_an_earlier_version_is_named(noise, tmp_path):
    options = {"epochs": 1, "batch_size": 4, "bptt": 60, "out": tmp_path}
    run = train.fit(SMALL, noise, jax.random.key(0), **options)
    tree, meta = [], checkpoint.read_meta(tmp_path / "last.safetensors")
    checkpoint.save(tmp_path / "last.safetensors", tree, meta | {"history": run.history._asdict()})
    with pytest.raises(ValueError, match="of an earlier version"):
        train.load_history(tmp_path)


@pytest.mark.parametrize("place", ["_validate", "step"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_got_a_signal_goes_on_as_if_it_had_not(
    noise, tmp_path, monkeypatch, place, number
):
    options = {"epochs": 2, "batch_size": 4, "bptt": 10, "transform": train.optimizer(steps=12)}
    run = lambda **more: train.fit(SMALL, noise, jax.random.key(0), **options, **more)
    whole, called, real = run(), [], getattr(loop, place)

    def interrupted(*args, **kwargs):
        called.append(place)
        if len(called) == 2:
            signal.raise_signal(number)
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(out=tmp_path)
    assert (tmp_path / "last.safetensors").exists() and len(called) == 2
    monkeypatch.undo()
    assert run(out=tmp_path, resume=True).history == whole.history
