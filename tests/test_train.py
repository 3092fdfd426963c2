"""Training: it learns, repeats itself, resumes where it stopped, and says when it cannot."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmjax import cells, data, heads, metrics, models, train
from lmjax.analysis import recurrent_spectrum, state_gradients
from lmjax.cell import Cell
from lmjax.train import checkpoint, loop

VOCAB = data.build_vocabulary(["a b c d"])


@pytest.fixture(scope="module")
def corpus():
    """Lines `a b c d` with one letter in ten at random: about 0.6 nats a token at best."""
    rng = np.random.default_rng(0)

    def stream(n):
        clean = np.tile(VOCAB.encode("a b c d"), n // 5)
        return np.where(rng.random(len(clean)) < 0.1, rng.integers(0, len(VOCAB), len(clean)), clean).astype(np.int32)

    return data.Corpus("toy", VOCAB, stream(1500), stream(300), stream(300), "none")


LM = models.recurrent(cells.lstm(8, 8), vocab_size=len(VOCAB))
FIT = {"epochs": 3, "batch_size": 5, "bptt": 10}
ADAM = train.optimizer("adam", 0.02, steps=90)


def fit(corpus, lm=LM, seed=0, **options):
    return train.fit(lm, corpus, jax.random.key(seed), **{"transform": ADAM, **FIT, **options})


def test_it_learns_and_repeats_to_the_last_digit(corpus):
    run = fit(corpus)
    baseline = metrics.unigram_perplexity(corpus.train, corpus.test, len(VOCAB))
    assert metrics.perplexity(LM, run.params, corpus.test, start=VOCAB.eos).perplexity < 0.6 * baseline
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


@pytest.mark.parametrize("head", [heads.softmax(4, len(VOCAB)), heads.sampled(4, len(VOCAB), samples=3)])
def test_training_in_half_precision_keeps_single_precision_parameters(corpus, head):
    lm = models.recurrent(cells.gru(4, 4), vocab_size=len(VOCAB), head=head, dtype=jnp.bfloat16)
    run = fit(corpus, lm)
    assert np.isfinite(run.valid) and run.valid < len(VOCAB)
    assert jnp.bfloat16 not in {x.dtype for x in jax.tree.leaves((run.params, run.opt))}


def test_one_step_is_sgd_on_the_clipped_mean_loss(corpus, key):
    transform = train.optimizer("sgd", 0.5, max_norm=0.1)
    state = train.init_state(LM, transform, key, 5)
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))

    def mean_loss(params):
        carry = LM.cell.initial_state(params.cell, (5,))
        return -models.log_prob(LM, params, carry, batch.inputs, batch.targets)[1].mean()

    value, gradient = jax.value_and_grad(mean_loss)(state.params)
    norm = optax.tree.norm(gradient)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g * jnp.minimum(1, 0.1 / norm), state.params, gradient)
    new, metrics = train.step(LM, transform, state, batch)
    chex.assert_trees_all_close(new.params, expected, rtol=1e-10)
    assert metrics.loss == pytest.approx(float(value)) and metrics.norm == pytest.approx(float(norm))


SAMPLED = models.recurrent(
    cells.gru(8, 8),
    vocab_size=200,
    head=heads.sampled(8, 200, samples=9),
    dropout=models.Dropout(input=0.2, recurrent=0.5),
)
SHIFTED = SAMPLED._replace(  # an embedding that is more than a table
    init=lambda key: SAMPLED.init(key)._replace(embed={"table": SAMPLED.init(key).embed, "shift": jnp.ones(8)}),
    embed=lambda embed, tokens: embed["table"][tokens] + embed["shift"],
)


def dense_and_sparse(lm, transform, key, steps):
    """Return the state before the last of some steps, and that step on all rows and on those of the batch."""
    dense = lm._replace(head=lm.head._replace(rows=None))
    tokens = jax.random.randint(key, (steps, 5, 4), 0, 30)
    *first, last = (data.Batch(x, x + 7, jnp.ones(x.shape, bool)) for x in tokens)

    def before():
        state = train.init_state(dense, transform, key, 4)
        for batch in first:
            state, _ = train.step(dense, transform, state, batch)
        return state

    return before(), train.step(dense, transform, before(), last), train.step(lm, transform, before(), last)


@pytest.mark.parametrize("lm", [SAMPLED, SHIFTED])
def test_a_step_of_sgd_on_the_rows_of_the_batch_is_that_on_all(lm, key):
    before, dense, sparse = dense_and_sparse(lm, train.optimizer("sgd", 0.5, max_norm=0.1), key, 1)
    chex.assert_trees_all_close(sparse, dense, rtol=1e-12, atol=1e-14)
    moved = (sparse[0].params.head.w != before.params.head.w).any(-1)
    assert sparse[1].norm > 0.1 and 10 < moved.sum() < 30


def test_adam_leaves_the_rows_that_a_batch_lacks(key):
    before, (dense, _), (sparse, _) = dense_and_sparse(SAMPLED, ADAM, key, 2)
    tables = lambda state: [
        (part.embed, *part.head) for part in (state.params, *(optax.tree.get(state.opt, name) for name in ("mu", "nu")))
    ]
    for old, all_rows, new in zip(*map(tables, (before, dense, sparse)), strict=True):
        for was, there, here in zip(old, all_rows, new, strict=True):
            same = (here == was).reshape(200, -1).all(-1)
            assert 160 < same.sum() < 190 and (there != was)[same].any()  # elsewhere, rows of the batch before move
            np.testing.assert_allclose(here[~same], there[~same], rtol=1e-12)
    chex.assert_trees_all_close(sparse.params.cell, dense.params.cell, rtol=1e-12)


def test_a_reset_sequence_begins_anew(corpus, key):
    transform = train.optimizer("sgd", 0.5)
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))
    used = lambda: jax.tree.map(jnp.ones_like, train.init_state(LM, transform, key, 5).carry)
    start = lambda: train.init_state(LM, transform, key, 5)
    always = train.step(LM, transform, start()._replace(carry=used()), batch, reset=1.0)[1]
    assert always.loss == train.step(LM, transform, start(), batch)[1].loss
    assert always.loss != train.step(LM, transform, start()._replace(carry=used()), batch)[1].loss


@pytest.mark.parametrize("stop_at", [7, 30, 45])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(corpus, tmp_path, monkeypatch, stop_at):
    whole = fit(corpus)
    step, calls = loop.step, iter(range(1000))

    def stopping(*args, **kwargs):
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(loop, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit(corpus, out=tmp_path)
    monkeypatch.setattr(loop, "step", step)
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
    flow = state_gradients(leaky, run.params.cell, leaky.initial_state(run.params.cell), xs, loss, target)
    assert np.isfinite(flow.log_total).all()
    assert recurrent_spectrum(run.params.cell["w_h"]).spectral_radius > 0


def test_checkpoints_hold_any_tree_and_refuse_another(tmp_path, key):
    tree = {"w": jnp.arange(3, dtype=jnp.bfloat16), "state": LM.init(key), "n": jnp.zeros((), jnp.int32)}
    checkpoint.save(tmp_path / "a", tree, {"epoch": 2})
    loaded, meta = checkpoint.load(tmp_path / "a", tree)
    chex.assert_trees_all_equal(loaded, tree)
    assert meta == {"epoch": 2} and [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ValueError, match=r"w should be int32\[3\], the file holds bfloat16\[3\]"):
        checkpoint.load(tmp_path / "a", {**tree, "w": jnp.zeros(3, jnp.int32)})
    with pytest.raises(ValueError, match=r"extra should be float64\[\], the file holds nothing"):
        checkpoint.load(tmp_path / "a", {**tree, "extra": jnp.zeros(())})


def test_damaged_checkpoints_are_named(tmp_path):
    checkpoint.save(tmp_path / "a", {"w": jnp.zeros(100)}, {})
    whole = (tmp_path / "a").read_bytes()
    for damaged in (b"", whole[:50], whole[:-10], b"hello" * 20):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged, or no checkpoint"):
            checkpoint.load(tmp_path / "a", {"w": jnp.zeros(100)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: fit(c, epochs=0), "epochs: must be at least 1, got 0"),
        (lambda c: fit(c, batch_size=-2), "batch_size: must be at least 1, got -2"),
        (lambda c: train.optimizer("adamant"), "optimizer: must be one of"),
        (lambda c: train.optimizer(learning_rate=0.0), "learning_rate: must be positive"),
        (
            lambda c: train.build(train.Model(cell="lsd"), 9),
            "cell: must be one of rnn, irnn, lstm, gru, mingru, got 'lsd'",
        ),
        (lambda c: train.build(train.Model(layers=0), 9), "layers: must be at least 1"),
        (
            lambda c: train.build(train.Model(hidden=4, embedding=3, head="tied"), 9),
            "head: tied needs embedding equal to hidden",
        ),
        (
            lambda c: train.build(train.Model(head="hat"), 9),
            "head: must be one of softmax, tied, adaptive, sampled, got",
        ),
    ],
)
def test_errors_name_the_argument(corpus, call, message):
    with pytest.raises(ValueError, match=message):
        call(corpus)
