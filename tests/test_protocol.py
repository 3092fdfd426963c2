"""One suite over every cell, head and model: the laws of the protocols and of probability."""

from functools import partial

import chex
import flax.linen as nn
import flax.nnx as nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import models
from lmjax.cells import CELLS, stack
from lmjax.heads import HEADS
from lmjax.interop.flax import from_linen, from_nnx
from lmjax.models import ngram
from lmjax.testing import check_cell, check_head

N_IN, N, V = 3, 4, 6
X = jnp.ones(N_IN)
TEXT = np.random.default_rng(0).integers(0, V, 300)
NGRAM = ngram.ngram(V, 3, eos=0)
COUNTED = models.Params(
    (), (), ngram.index(ngram.add_delta(ngram.count(TEXT, 3, size=V, eos=0), 0.5))
)
RECURRENT = {
    name: models.recurrent(make(N_IN, N), vocab_size=V, embedding_size=N_IN)
    for name, make in CELLS.items()
}
MODELS = RECURRENT | {
    "n-gram": NGRAM,
    "mixture": models.mixture(NGRAM, RECURRENT["lstm"]),
    "maxent": models.maxent.maxent(RECURRENT["rnn"], models.maxent.hashed(V, 3, 8)),
}
FLAX = {
    "linen lstm": lambda: from_linen(nn.LSTMCell(N), N_IN),
    "linen gru": lambda: from_linen(nn.GRUCell(N, param_dtype=float, dtype=float), N_IN),
    "nnx gru": lambda: from_nnx(lambda rngs: nnx.GRUCell(N_IN, N, rngs=rngs), N_IN),
}


def drawn(name, key):
    """Parameters of a model, those of the n-gram model counted, those of features not zero."""
    if name == "n-gram":
        return COUNTED
    if name == "mixture":
        return models.join([COUNTED, RECURRENT["lstm"].init(key)], [0.3, 0.7])
    params = MODELS[name].init(key)
    if name == "maxent":
        theta = jax.random.normal(key, params.cell.features.shape)
        return params._replace(cell=params.cell._replace(features=theta))
    return params


@pytest.mark.parametrize("name", CELLS)
def test_cells(name, key):
    check_cell(CELLS[name](N_IN, N), key, X)


def test_a_stack(key):
    check_cell(stack(CELLS["lstm"](N_IN, 3), CELLS["mingru"](3, N)), key, X)


def test_the_cell_of_an_ngram_model(key):
    check_cell(NGRAM.cell, key, 2)


@pytest.mark.parametrize("name", FLAX)
def test_cells_of_flax(name, key):
    check_cell(FLAX[name](), key, X)


@pytest.mark.parametrize("name", HEADS)
def test_heads(name, key):
    check_head(HEADS[name](N, 29), key, jnp.ones(N), 29)


def test_the_head_of_an_ngram_model(key):
    counted = NGRAM.head._replace(init=lambda key: COUNTED.head)
    check_head(counted, key, jnp.array([1, 3]), V)


@pytest.mark.parametrize("name", CELLS)
def test_equal_arguments_give_an_equal_cell(name, key):
    chex.clear_trace_counter()

    @partial(jax.jit, static_argnums=0)
    @chex.assert_max_traces(1)
    def first_state(cell, params):
        return cell.initial_state(params)

    for _ in range(2):
        cell = CELLS[name](N_IN, N)
        first_state(cell, cell.init(key))


@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_as_probable_as_its_words_one_by_one(name, key):
    lm, params = MODELS[name], drawn(name, key)
    tokens, targets = TEXT[:6], TEXT[1:7]
    first = lm.cell.initial_state(params.cell)
    final, logp = models.log_prob(lm, params, first, tokens, targets)
    state, by_step = first, []
    for token, target in zip(tokens, targets, strict=True):
        inputs = lm.cell.encode(params.cell, lm.embed(params.embed, jnp.asarray(token)))
        state = lm.cell.step(params.cell, state, inputs)
        distribution = models.next_log_probs(lm, params, state)
        assert jax.nn.logsumexp(distribution) == pytest.approx(0, abs=1e-5)
        by_step.append(distribution[target])
    np.testing.assert_allclose(logp, by_step, rtol=1e-5)
    chex.assert_trees_all_close(final, state, rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_carried_state_goes_on_with_the_text(name, key):
    lm, params = MODELS[name], drawn(name, key)
    tokens, targets = TEXT[:7], TEXT[1:8]
    score = partial(models.log_prob, lm, params)
    first = lm.cell.initial_state(params.cell)
    final, whole = score(first, tokens, targets)
    carried, begun = score(first, tokens[:3], targets[:3])
    end, ended = score(carried, tokens[3:], targets[3:])
    np.testing.assert_allclose(jnp.concatenate([begun, ended]), whole, rtol=1e-6)
    chex.assert_trees_all_close(end, final, rtol=1e-12)
