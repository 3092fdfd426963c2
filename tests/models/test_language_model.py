"""Language models: laws of probability, and brute force."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_model import LM, TIED, N, V

from lmjax import cells, decoding, heads, metrics, models
from lmjax.models import Dropout, Penalties


def test_looking_words_up_is_indexing_and_minus_one_is_no_word(key):
    table, tokens = jax.random.normal(key, (5, 3)), jnp.array([[0, 4, 4], [5, 7, 0]])
    assert jnp.isnan(models.lookup(table, jnp.array([-1, -5, 5]))).all()
    at = lambda f: lambda table: (jnp.nan_to_num(f(table)) ** 2).sum()
    own, plain = (
        at(lambda table: models.lookup(table, tokens)),
        at(lambda table: table.take(tokens, axis=0)),
    )
    np.testing.assert_array_equal(models.lookup(table, tokens), table.take(tokens, axis=0))
    np.testing.assert_allclose(jax.grad(own)(table), jax.grad(plain)(table), rtol=1e-12)
    curvature = lambda f: jax.jvp(jax.grad(f), (table,), (table,))[1]
    np.testing.assert_allclose(curvature(own), curvature(plain), rtol=1e-12)
    assert not jax.grad(own)(table)[1:4].any()
    assert not jax.grad(lambda table: models.lookup(table, tokens[:0]).sum())(table).any()


@pytest.mark.usefixtures("on_cpu")
def test_the_gradient_of_the_embedding_is_not_held_through_the_step(key):
    vocab, n, tokens = 20_000, 8, jnp.zeros((4, 2), int)
    lm = models.recurrent(cells.rnn(n, n), vocab_size=vocab)

    def memory(lm):
        def update(params):
            loss = lambda params: models.loss(lm, params, jnp.zeros((2, n)), tokens, tokens, key)[
                1
            ].mean()
            return jax.tree.map(jnp.subtract, params, jax.grad(loss)(params))

        compiled = jax.jit(update, donate_argnums=0).lower(lm.init(key)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    held = memory(lm._replace(embed=lambda table, tokens: table.take(tokens, axis=0)))
    assert memory(lm) < held - 0.9 * vocab * n * lm.init(key).embed.itemsize


SHORT = models.recurrent(
    cells.gru(N, N), vocab_size=V, head=heads.tied_adaptive(N, V, cutoffs=(3, 7))
)


@pytest.mark.parametrize("lm", [LM, TIED, SHORT], ids=["full", "tied", "tied adaptive"])
def test_loss_without_dropout_is_minus_log_prob(lm, key):
    params, tokens = lm.init(key), jnp.array([[3, 1], [4, 1], [5, 9]])
    state = lm.cell.initial_state(params.cell, (2,))
    _, losses = models.loss(lm, params, state, tokens, tokens[::-1], key)
    _, logp = models.log_prob(lm, params, state, tokens, tokens[::-1])
    np.testing.assert_array_equal(losses, -logp)


@pytest.mark.parametrize("make", [cells.rnn, cells.lstm, cells.gru, cells.mingru, cells.diagonal])
def test_parameters_in_half_precision(make, key):
    """In bfloat16 states, loss and gradient stay in single precision, with errors near 2^-8."""
    k_params, k_tokens = jax.random.split(key)
    model = partial(models.recurrent, make(16, 16), vocab_size=40)
    params = jax.tree.map(lambda x: x.astype(jnp.float32), model().init(k_params))
    tokens = jax.random.randint(k_tokens, (21, 8), 0, 40)

    @partial(jax.jit, static_argnums=0)
    def everything(lm):
        def mean_loss(params):
            state = lm.cell.initial_state(params.cell, (8,))
            final, losses = models.loss(lm, params, state, tokens[:-1], tokens[1:], key)
            return losses.mean(), (final, losses)

        return jax.grad(mean_loss, has_aux=True)(params)

    half, single = everything(model(dtype=jnp.bfloat16)), everything(model())
    assert {x.dtype for x in jax.tree.leaves(half)} == {jnp.dtype(jnp.float32)}
    error = lambda a, b: optax.tree.norm(optax.tree.sub(a, b)) / optax.tree.norm(b)
    (gradient, (final, losses)), (exact_gradient, (exact_final, exact_losses)) = half, single
    assert error(losses, exact_losses) < 1e-3
    assert error(final, exact_final) < 1e-2 and error(gradient, exact_gradient) < 2e-2


LEAKY = cells.Cell(
    init=lambda key: {"w_h": jnp.eye(8)},
    initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 8)),
    step=lambda params, h, x: jnp.tanh(x + h @ params["w_h"]),
)


def test_parameters_of_another_model_are_refused_before_anything_is_computed(key):
    other = models.recurrent(cells.gru(N, N), vocab_size=V).init(key)
    for ask in (
        lambda: decoding.generate(LM, other, [1], key, length=2),
        lambda: metrics.perplexity(LM, other, [1, 2], start=0),
    ):
        with pytest.raises(ValueError, match="model: the cell does not take"):
            ask()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=1),
            "vocab_size must be at least 2, got 1",
        ),
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=3, dropout=Dropout(output=1.0)),
            r"dropout.output must be in \[0, 1\), got 1.0",
        ),
        (
            lambda: models.recurrent(cells.rnn(2, 2), vocab_size=3, dropout=Dropout(between=0.1)),
            "dropout.between must be 0 where the cell is no stack of layers, got 0.1",
        ),
        (
            lambda: models.recurrent(
                cells.rnn(2, 2), vocab_size=3, penalties=Penalties(temporal=jnp.inf)
            ),
            "penalties.temporal must be at least 0 and finite, got inf",
        ),
        (
            lambda: models.recurrent(cells.lstm(8, 16), vocab_size=10, embedding_size=4),
            r"cell does not take the embedding's vectors of 4: .*\(4,\) and \(8,\)",
        ),
        (
            lambda: models.recurrent(cells.lstm(8, 16), vocab_size=10),
            r"cell does not take the embedding's vectors of 16: .*\(16,\) and \(8,\)",
        ),
        (
            lambda: models.recurrent(
                cells.rnn(4, 4), vocab_size=9, embedding_size=5, head=heads.tied_adaptive(4, 9)
            ),
            "embedding_size: the head has an embedding of its own, of 4 as the features, got 5",
        ),
        (
            lambda: models.recurrent(LEAKY, vocab_size=10, embedding_size=3),
            r"cell does not take the embedding's vectors of 3: .*\(3,\), \(8,\)",
        ),
        (
            lambda: models.recurrent(cells.rnn(8, 8), vocab_size=10, head=heads.softmax(4, 10)),
            r"head does not take the cell's vectors of 8: .*\(8,\) and \(4,\)",
        ),
        (
            lambda: models.recurrent(
                cells.rnn(4, 8), vocab_size=10, embedding_size=4, head=heads.tied(10)
            ),
            r"head does not take the cell's vectors of 8: .*\(8,\) and \(4,\)",
        ),
        (
            lambda: models.recurrent(cells.rnn(8, 8), vocab_size=10, head=heads.sampled(8, 12)),
            "the head has 12 words, vocab_size is 10",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
