"""One training step: its definition, its state, its memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import LM, SHORT, SMALL, VOCAB

from lmjax import cells, data, models, train
from lmjax.analysis import clip_by_global_norm


def test_one_step_is_sgd_on_the_clipped_mean_loss(corpus, key):
    transform = train.optimizer("sgd", 0.5, max_norm=0.1)
    state = train.init_state(LM, transform, key, 5)
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))

    def mean_loss(params):
        carry = LM.cell.initial_state(params.cell, (5,))
        return -models.log_prob(LM, params, carry, batch.inputs, batch.targets)[1].mean()

    value, gradient = jax.value_and_grad(mean_loss)(state.params)
    norm = optax.tree.norm(gradient)
    expected = jax.tree.map(
        lambda p, g: p - 0.5 * g * jnp.minimum(1, 0.1 / norm), state.params, gradient
    )
    new, metrics = train.step(LM, transform, state, batch)
    chex.assert_trees_all_close(new.params, expected, rtol=1e-10)
    assert metrics.loss == pytest.approx(float(value)) and metrics.norm == pytest.approx(
        float(norm)
    )


def test_adagrad_divides_by_the_root_of_all_squares_and_one(corpus, key):
    transform = train.optimizer("adagrad", 0.2, max_norm=9.0)
    state = train.init_state(LM, transform, key, 5)
    params, carry = jax.tree.map(jnp.copy, (state.params, state.carry))
    squares = jax.tree.map(jnp.ones_like, params)

    def mean_loss(params, carry, batch):
        carry, logp = models.log_prob(LM, params, carry, batch.inputs, batch.targets)
        return -logp.mean(), carry

    batches = data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos)
    for batch, _ in zip(batches, range(3), strict=False):
        state, _ = train.step(LM, transform, state, batch)
        gradient, carry = jax.grad(mean_loss, has_aux=True)(params, carry, batch)
        squares = jax.tree.map(lambda s, g: s + g**2, squares, gradient)
        params = jax.tree.map(
            lambda p, g, s: p - 0.2 * g / jnp.sqrt(s + 1e-7), params, gradient, squares
        )
    chex.assert_trees_all_close(state.params, params, rtol=1e-8)


@pytest.mark.parametrize(
    "transform",
    [
        optax.adam(0.01),
        optax.chain(clip_by_global_norm(0.1), clip_by_global_norm(0.01), optax.sgd(0.1)),
        optax.noisy_sgd(0.1, key=0),
        optax.contrib.momo(),
    ],
    ids=["no clip", "two clips", "random", "asks for the loss"],
)
def test_any_transformation_trains_and_the_norm_is_that_of_the_gradient(corpus, key, transform):
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))
    _, known = train.step(LM, SHORT, train.init_state(LM, SHORT, key, 5), batch)
    new, metrics = train.step(LM, transform, train.init_state(LM, transform, key, 5), batch)
    assert metrics == known and metrics.norm > 0
    moved = jax.tree.map(lambda p, q: (p != q).any(), new.params, train.init_params(LM, key))
    assert all(jax.tree.leaves(moved))


def test_value_is_the_loss_of_the_batch_and_value_fn_the_loss_of_parameters(corpus, key):
    def update(updates, state, params, *, value, grad, value_fn, **_):
        return optax.tree.zeros_like(updates), (value, value_fn(params), optax.tree.norm(grad))

    seen = lambda params: (jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
    asks = optax.GradientTransformationExtraArgs(seen, update)
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))
    new, metrics = train.step(LM, asks, train.init_state(LM, asks, key, 5), batch)
    np.testing.assert_allclose(new.opt, (metrics.loss, metrics.loss, metrics.norm), rtol=1e-12)


def test_what_is_reported_of_a_penalised_step_is_the_likelihood(corpus, key):
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))
    penalised = LM._replace(penalties=models.Penalties(activation=2.0, temporal=1.0))
    (plain, told), (state, metrics) = (
        train.step(lm, SHORT, train.init_state(lm, SHORT, key, 5), batch) for lm in (LM, penalised)
    )
    assert metrics.loss == told.loss and metrics.norm != told.norm
    assert (state.params.cell.w_h != plain.params.cell.w_h).any()


def test_a_reset_sequence_begins_anew(corpus, key):
    transform = train.optimizer("sgd", 0.5)
    batch = next(data.contiguous(corpus.train, batch_size=5, seq_len=10, start=VOCAB.eos))
    used = lambda: jax.tree.map(jnp.ones_like, train.init_state(LM, transform, key, 5).carry)
    start = lambda: train.init_state(LM, transform, key, 5)
    always = train.step(LM, transform, start()._replace(carry=used()), batch, reset=1.0)[1]
    assert always.loss == train.step(LM, transform, start(), batch)[1].loss
    assert always.loss != train.step(LM, transform, start()._replace(carry=used()), batch)[1].loss


def test_the_step_writes_into_the_memory_of_the_old_state(noise):
    state = train.init_state(SMALL, SHORT, jax.random.key(0), 4)
    batch = next(data.contiguous(noise.train, batch_size=4, seq_len=10, start=VOCAB.eos))
    arrays = lambda state: [
        x for x in jax.tree.leaves((state.params, state.opt, state.carry)) if x.ndim
    ]
    places = lambda state: {x.unsafe_buffer_pointer() for x in arrays(state)}
    before = places(state)
    assert len(before) == len(arrays(state))
    after, _ = train.step(SMALL, SHORT, state, batch)  # a donation of no use would warn
    assert places(after) == before and all(x.is_deleted() for x in arrays(state))


def test_segments_take_less_memory(noise):
    def temporary(lm):
        state = jax.eval_shape(lambda key: train.init_state(lm, SHORT, key, 4), jax.random.key(0))
        batch = next(
            data.contiguous(np.resize(noise.train, 4096), batch_size=4, seq_len=1024, start=0)
        )
        return (
            train.step.lower(lm, SHORT, state, batch).compile().memory_analysis().temp_size_in_bytes
        )

    lm = models.recurrent(cells.lstm(16, 16), vocab_size=len(VOCAB))
    # bytes of what an LSTM keeps of its gates, at every step, in float32
    gates = 1024 * 4 * (4 * 16) * 4
    assert temporary(lm._replace(segment=32)) < temporary(lm) - gates


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train.optimizer("adamant"), "optimizer: must be one of"),
        (lambda: train.optimizer(learning_rate=0.0), "learning_rate: must be positive"),
        (lambda: train.optimizer(learning_rate=jnp.inf), "learning_rate: .* finite, got inf"),
        (lambda: train.optimizer(learning_rate=jnp.nan), "learning_rate: .* number, got nan"),
        (lambda: train.optimizer(max_norm=np.float32(-1)), "max_norm must be positive, got -1"),
        (lambda: train.optimizer(steps=2.5), "steps: must be a whole number, got 2.5"),
        (lambda: train.optimizer(plateau=1.5), r"plateau: must be in \(0, 1\), got 1.5"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
