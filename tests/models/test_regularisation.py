"""Dropout keeps the mean and holds over time; penalties are their closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import LM, TIED, N, V

from lmjax import cells, models
from lmjax.models import Dropout, Penalties
from lmjax.models.regularisation import drop_recurrent, drop_words, locked, penalised
from lmjax.unroll import scan

TOKENS = jnp.array([[1, 2, 3], [2, 1, 1], [4, 4, 1], [2, 5, 6], [1, 3, 2]])  # [T, B]
TWO = models.recurrent(cells.stack(cells.rnn(N, N), cells.rnn(N, N)), vocab_size=V)
SUM = cells.Cell(
    init=lambda key: (),
    initial_state=lambda params, batch_shape=(): jnp.zeros((*batch_shape, N)),
    step=lambda params, s, x: s + x,
)
SUMS = models.recurrent(cells.stack(SUM, SUM), vocab_size=V)
KINDS = {
    "locked": lambda key, x: locked(key, 0.25, x),
    "words": lambda key, x: drop_words(key, 0.25, x, TOKENS),
    "recurrent": lambda key, x: drop_recurrent(key, 0.25, {"w_h": x})["w_h"],
}


@partial(jax.jit, static_argnums=0)
def losses(lm, params, key, tokens=TOKENS):
    state = lm.cell.initial_state(params.cell, tokens.shape[1:])
    return models.loss(lm, params, state, tokens, tokens[::-1], key)


@pytest.mark.parametrize("drop", KINDS.values(), ids=KINDS)
def test_the_mean_over_all_draws_is_what_was_there(drop, key):
    x = jnp.ones((*TOKENS.shape, 2))
    drawn = jax.vmap(drop, (0, None))(jax.random.split(key, 5000), x)
    assert {*np.unique(drawn)} == {0, 1 / 0.75}
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.04)  # five standard deviations


def test_locked_dropout_is_one_draw_for_all_steps_and_another_for_each_sequence(key):
    dropped = locked(key, 0.5, jnp.ones((4, 3, 100)))
    assert (dropped == dropped[0]).all() and (dropped[:, 0] != dropped[:, 1]).any()


def test_a_word_is_dropped_wherever_it_stands_or_nowhere(key):
    tokens = jax.random.randint(key, (20, 30), 0, 50)
    dropped = np.array(drop_words(key, 0.5, jnp.ones((20, 30, 4)), tokens))
    draws = {word: np.unique(dropped[np.array(tokens) == word]) for word in range(50)}
    assert all(len(draw) == 1 for draw in draws.values())
    assert 10 < sum(draw[0] == 0 for draw in draws.values()) < 40
    # by its id alone: in another batch, with the same key, it is the same
    again = drop_words(key, 0.5, jnp.ones((50, 4)), jnp.arange(50))[:, 0]
    assert again.tolist() == [draw[0] for draw in draws.values()]


def test_a_head_that_shares_the_embedding_reads_dropped_words_whole(key):
    params, dropping = TIED.init(key), TIED._replace(dropout=Dropout(embedding=1 - 1e-9))
    of_zeros = TIED._replace(embed=lambda table, tokens: 0 * table[tokens])
    np.testing.assert_array_equal(*(losses(lm, params, key)[1] for lm in (dropping, of_zeros)))


def test_a_vector_of_no_word_is_nan_even_where_it_is_dropped(key):
    dropped = drop_words(
        key, 1 - 1e-9, jnp.array([[jnp.nan], [jnp.nan], [1]]), jnp.array([-1, V, 2])
    )
    assert jnp.isnan(dropped).ravel().tolist() == [True, True, False]


def test_between_layers_one_mask_holds_for_all_steps(key):
    params, rates = TWO.init(key), Dropout(between=0.5)
    sums = lambda rates: losses(
        SUMS._replace(dropout=rates), params._replace(embed=jnp.ones((V, N)), cell=((), ())), key
    )[0][1]
    mask = sums(rates) / sums(Dropout())  # 0 or 2 everywhere, if it is the same at all steps
    assert {*np.unique(mask)} == {0, 2} and (mask[0] != mask[1]).any()

    def by_hand(params):
        below, above = TWO.cell.layers
        start = TWO.cell.initial_state(params.cell, (3,))
        s_1, states = scan(below, params.cell[0], start[0], params.embed[TOKENS])
        s_2, y = scan(above, params.cell[1], start[1], mask * states)
        logp = jax.nn.log_softmax(y @ params.head.w.T + params.head.b)
        return (s_1, s_2), -jnp.take_along_axis(logp, TOKENS[::-1, :, None], -1)[..., 0]

    @jax.jit
    def ours_and_by_hand(params):
        total = lambda f: lambda params: sum(x.sum() for x in jax.tree.leaves(f(params)))
        lm = TWO._replace(dropout=rates)
        ways = [by_hand, *(partial(losses, lm._replace(segment=k), key=key) for k in (None, 2))]
        return [jax.value_and_grad(total(way))(params) for way in ways]

    expected, *ours = ours_and_by_hand(params)
    for found in ours:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), found, expected)


RATES = [Dropout(**{name: 0.5}) for name in Dropout._fields]


@pytest.mark.parametrize("rates", RATES, ids=Dropout._fields)
def test_each_dropout_acts_in_training_alone(rates, key):
    params, lm = TWO.init(key), TWO._replace(dropout=rates)
    state = lm.cell.initial_state(params.cell, (3,))
    score = lambda lm: models.log_prob(lm, params, state, TOKENS, TOKENS[::-1])[1]
    drawn = [losses(lm, params, jax.random.key(seed))[1] for seed in (0, 1)]
    assert not np.allclose(*drawn)
    assert np.array_equal(score(lm), score(TWO)) and np.array_equal(
        score(TWO), -losses(TWO, params, key)[1]
    )


def test_the_gradient_of_the_penalties_by_hand(key):
    alpha, beta, n = 2.0, 3.0, 4
    y, mask = jax.random.normal(key, (5, 2, n)), jnp.array([0, 1.5, 1.5, 0])
    penalties = Penalties(activation=alpha, temporal=beta)
    value, gradient = jax.value_and_grad(
        lambda y: penalised(penalties, jnp.ones((5, 2)), y, mask * y).sum()
    )(y)
    change = jnp.diff(y, axis=0)  # y_t - y_{t-1}, t = 2..T
    expected = alpha * mask**2 * y
    expected = expected.at[1:].add(beta * change).at[:-1].add(-beta * change)
    assert value == 10
    np.testing.assert_allclose(gradient, 2 / n * expected, rtol=1e-12)


def test_penalties_are_of_the_features_that_a_masked_loss_keeps(key):
    """The gradient of a mean over some positions is that of the likelihood and the penalties."""
    plain, valid = LM._replace(dropout=Dropout(output=0.5)), TOKENS != 4
    seen = LM.head._replace(loss=lambda params, y, token, key: y)
    mean = lambda x: jnp.where(valid, x, 0).sum() / valid.sum()
    of = lambda lm, params: losses(lm, params, key)[1]

    def whole(params):
        y, dropped = (of(lm._replace(head=seen), params) for lm in (LM, plain))
        change = (jnp.diff(y, axis=0) ** 2).mean(-1)
        penalty = mean(2 * (dropped**2).mean(-1)) + mean(jnp.pad(3 * change, ((1, 0), (0, 0))))
        return mean(of(plain, params)) + penalty, mean(of(plain, params))

    @jax.jit
    def ours_and_expected(params):
        lm = plain._replace(penalties=Penalties(activation=2.0, temporal=3.0))
        value, gradient = jax.value_and_grad(lambda params: mean(of(lm, params)))(params)
        expected, without = jax.grad(whole, has_aux=True)(params)
        return (value, gradient), (without, expected)

    ours, expected = ours_and_expected(LM.init(key))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), ours, expected)
