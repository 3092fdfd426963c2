"""A beam that is wide enough finds the best of all continuations; greedy is one of them."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells, models
from lmjax.decoding import beam_search, greedy

V, LENGTH, END = 4, 4, 0
LM = models.recurrent(cells.gru(3, 3), vocab_size=V)


@pytest.fixture
def params(key):
    return jax.tree.map(lambda x: 3 * x, LM.init(key))  # far from uniform


@pytest.fixture
def state(key, params):
    """Two sentences that begin differently."""
    zeros = LM.cell.initial_state(params.cell, (2,))
    return zeros + jax.random.normal(key, zeros.shape)


def every(params, state):
    """Every continuation, with its log-probability: `[2]` for each."""
    others = range(1, V)
    ended = ((*w, END) for n in range(LENGTH) for w in product(others, repeat=n))
    words = [*ended, *product(others, repeat=LENGTH)]
    padded = np.array([[*w, *[END] * LENGTH][:LENGTH] for w in words]).T[:, :, None]
    targets = jnp.broadcast_to(padded, (LENGTH, len(words), 2))
    inputs = jnp.concatenate([jnp.full_like(targets[:1], END), targets[:-1]])
    first = jnp.broadcast_to(state, (len(words), *state.shape))
    _, logp = models.log_prob(LM, params, first, inputs, targets)
    own = np.arange(LENGTH)[:, None] < [len(w) for w in words]
    return [*zip(words, np.where(own[..., None], logp, 0).sum(0), strict=True)]


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_misses_nothing(params, state, alpha):
    found = beam_search(
        LM, params, state, start=END, end=END, length=LENGTH, size=V ** (LENGTH - 1), alpha=alpha
    )
    table = every(params, state)
    normal = [((5 + len(words)) / 6) ** alpha for words, _ in table]
    for sentence in (0, 1):
        scores = np.array([logp[sentence] for _, logp in table]) / normal
        best = np.argsort(-scores)[:10]
        np.testing.assert_allclose(found.score[:10, sentence], scores[best], rtol=1e-9)
        for k, place in enumerate(best):
            words = [*table[place][0], *[END] * LENGTH][:LENGTH]
            assert found.tokens[k, sentence].tolist() == words
            np.testing.assert_allclose(found.logp[k, sentence], table[place][1][sentence])


def test_a_narrow_beam_finds_what_greedy_finds_or_better(params, state):
    how = {"start": END, "end": END, "length": LENGTH}
    words = greedy(LM, params, state, **how).tokens[0]
    best = beam_search(LM, params, state, **how, size=2, alpha=0.0)
    table = {tuple([*w, *[END] * LENGTH][:LENGTH]): logp for w, logp in every(params, state)}
    for sentence in (0, 1):
        logp = table[tuple(words[sentence].tolist())][sentence]
        assert best.logp[0, sentence] >= logp - 1e-9


def test_greedy_takes_the_most_probable_word_each_time(params, state):
    words = greedy(LM, params, state, start=END, end=END, length=LENGTH).tokens[0]
    inputs = jnp.concatenate([jnp.full((1, 2), END), words.T[:-1]])
    _, all_states = models.states(LM, params, state, inputs)
    best = LM.head.log_probs(params, LM.cell.read(params.cell, all_states)).argmax(-1)
    ended = np.cumsum(words.T == END, 0) - (words.T == END) > 0
    np.testing.assert_array_equal(np.where(ended, END, best), words.T)


@pytest.mark.parametrize("wrong", [{"length": 0}, {"size": 0}])
def test_a_beam_of_nothing_is_refused(params, state, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: must be positive|at least 1"):
        beam_search(LM, params, state, **({"start": 0, "end": 0, "length": 2} | wrong))
