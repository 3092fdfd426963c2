"""A step on the rows of a batch is the step on all rows."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import ADAM

from lmjax import cells, data, heads, models, train

SAMPLED = models.recurrent(
    cells.gru(8, 8),
    vocab_size=200,
    head=heads.sampled(8, 200, samples=9),
    dropout=models.Dropout(input=0.2, recurrent=0.5, embedding=0.3),
)
TIED = models.recurrent(
    cells.gru(8, 8),
    vocab_size=200,
    head=heads.sampled(8, 200, loss=heads.blackout_loss, samples=9, share_embedding=True),
)


SHIFTED = SAMPLED._replace(  # an embedding that is more than a table
    init=lambda key: SAMPLED.init(key)._replace(
        embed={"table": SAMPLED.init(key).embed, "shift": jnp.ones(8)}
    ),
    embed=lambda embed, tokens: embed["table"][tokens] + embed["shift"],
)


def dense_and_sparse(lm, transform, key, steps):
    """Return the state before the last step, and that step on all rows and on the batch's."""
    dense = lm._replace(head=lm.head._replace(rows=None))
    tokens = jax.random.randint(key, (steps, 5, 4), 0, 30)
    *first, last = (data.Batch(x, x + 7, jnp.ones(x.shape, bool)) for x in tokens)

    def before():
        state = train.init_state(dense, transform, key, 4)
        for batch in first:
            state, _ = train.step(dense, transform, state, batch)
        return state

    return (
        before(),
        train.step(dense, transform, before(), last),
        train.step(lm, transform, before(), last),
    )


@pytest.mark.parametrize("lm", [SAMPLED, TIED, SHIFTED])
def test_a_step_of_sgd_on_the_rows_of_the_batch_is_that_on_all(lm, key):
    before, dense, sparse = dense_and_sparse(lm, train.optimizer("sgd", 0.5, max_norm=0.1), key, 1)
    chex.assert_trees_all_close(sparse, dense, rtol=1e-12, atol=1e-14)
    rows = lambda params: params.embed if lm is TIED else params.head.w
    moved = (rows(sparse[0].params) != rows(before.params)).any(-1)
    assert sparse[1].norm > 0.1 and 10 < moved.sum() < (50 if lm is TIED else 30)


def test_adagrad_on_the_rows_of_the_batch_is_that_on_all(key):
    """A row without a gradient neither moves nor adds to its sum of squares, which begins at 1."""
    _, dense, sparse = dense_and_sparse(SAMPLED, train.optimizer("adagrad", 0.2), key, 3)
    chex.assert_trees_all_close(sparse, dense, rtol=1e-9, atol=1e-12)
    squares = optax.tree.get(sparse[0].opt, "sum_of_squares").embed
    assert (squares == 1).all(-1).sum() > 150 and (squares > 1).all(-1).any()


def test_adam_leaves_the_rows_that_a_batch_lacks(key):
    before, (dense, _), (sparse, _) = dense_and_sparse(SAMPLED, ADAM, key, 2)
    tables = lambda state: [
        (part.embed, *part.head)
        for part in (state.params, *(optax.tree.get(state.opt, name) for name in ("mu", "nu")))
    ]
    for old, all_rows, new in zip(*map(tables, (before, dense, sparse)), strict=True):
        for was, there, here in zip(old, all_rows, new, strict=True):
            same = (here == was).reshape(200, -1).all(-1)
            # elsewhere, rows of the batch before move
            assert 160 < same.sum() < 190 and (there != was)[same].any()
            np.testing.assert_allclose(here[~same], there[~same], rtol=1e-12)
    chex.assert_trees_all_close(sparse.params.cell, dense.params.cell, rtol=1e-12)


@pytest.mark.parametrize("wrong", [-1, 200, 10**6])
def test_an_input_or_target_outside_the_vocabulary_makes_the_loss_nan(wrong, key):
    state = train.init_state(SAMPLED, ADAM, key, 4)
    tokens = jnp.ones((5, 4), jnp.int32)
    bad, mask = tokens.at[2, 1].set(wrong), jnp.ones((5, 4), bool)
    for batch in (data.Batch(bad, tokens, mask), data.Batch(tokens, bad, mask)):
        copy = jax.tree.map(jnp.copy, state)
        assert jnp.isnan(train.step(SAMPLED, ADAM, copy, batch)[1].loss)


@pytest.mark.parametrize(
    "transform",
    [
        optax.adafactor(0.1, min_dim_size_to_factor=4),
        optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
        optax.sm3(0.1),
    ],
    ids=["factored", "gathered", "one number an axis"],
)
def test_a_transformation_that_is_not_row_by_row_takes_all_rows(key, transform):
    _, dense, sparse = dense_and_sparse(SAMPLED, transform, key, 2)
    chex.assert_trees_all_close(sparse, dense, rtol=1e-9, atol=1e-12)
