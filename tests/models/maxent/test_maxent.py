"""Maximum entropy: its definition by brute force, what it reduces to, and what it reaches."""

from collections import Counter
from itertools import product

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells, data, heads, models, train
from lmjax.models import maxent
from lmjax.models.maxent.model import Read
from lmjax.testing import check_cell

V, N = 5, 4
TEXT = np.random.default_rng(0).integers(0, V, 200)
TOKENS, TARGETS = TEXT[:12].reshape(6, 2), TEXT[1:13].reshape(6, 2)
LINKS = maxent.link(TEXT, 3, vocab_size=V, successors=3)
OBSERVED = maxent.observed(LINKS, V)
UNIFORM = heads.Proposal(
    lambda key, count: jax.random.permutation(key, V), lambda word: -jnp.log(V) + 0.0 * word
)
HEADS = {
    "softmax": heads.softmax(N, V),
    "adaptive": heads.adaptive(N, V, cutoffs=(2,)),
    "tied_sampled": heads.sampled(N, V, samples=V, proposal=UNIFORM, share_embedding=True),
}
INNER = {name: models.recurrent(cells.rnn(N, N), vocab_size=V, head=h) for name, h in HEADS.items()}
LMS = {name: maxent.maxent(lm, OBSERVED) for name, lm in INNER.items()}


def weighted(params, key):
    """The parameters with weights that are not zero."""
    return with_theta(params, jax.random.normal(key, params.cell.features.theta.shape))


def with_theta(params, theta):
    features = params.cell.features._replace(theta=theta)
    return params._replace(cell=params.cell._replace(features=features))


def without(params):
    return params._replace(cell=params.cell.cell)


def pairs(links):
    """The links as {(context, word): number}."""
    contexts = {0: ()}
    for parent in range(len(links.word)):
        for child in range(*links.children[parent : parent + 2]):
            contexts[child] = (int(links.word[child]), *contexts[parent])
    assert len(contexts) == len(links.word)
    return {
        (contexts[c], int(links.follower[i])): i
        for c in contexts
        for i in range(*links.first[c : c + 2])
    }


@pytest.mark.parametrize(("successors", "min_count"), [(100, 1), (2, 1), (100, 3), (2, 2)])
def test_links_are_the_most_frequent_ngrams(successors, min_count):
    text = TEXT.tolist()
    found = set(
        pairs(maxent.link(TEXT, 4, vocab_size=V, successors=successors, min_count=min_count))
    )
    grams = {
        k: Counter(tuple(text[i : i + k + 1]) for i in range(len(text) - k)) for k in (1, 2, 3)
    }
    expected = set()
    for counts in grams.values():
        for context in {gram[:-1] for gram in counts}:
            words = sorted((-c, g[-1]) for g, c in counts.items() if g[:-1] == context)
            expected |= {(context, w) for c, w in words[:successors] if -c >= min_count}
    assert found == expected


def read(lm, params, tokens):
    """What the cell reads out after each of the tokens."""
    state = lm.cell.initial_state(params.cell, tokens.shape[1:])
    return lm.cell.read(params.cell, models.states(lm, params, state, tokens)[1])


@pytest.mark.parametrize("name", LMS)
def test_probabilities_are_those_of_the_equation(name, key):
    lm, inner = LMS[name], INNER[name]

    @jax.jit
    def distributions(key):
        params = weighted(lm.init(key), key)
        y = read(lm, params, TEXT[:9])
        alone = without(params)
        p = jnp.exp(inner.head.log_probs(alone, read(inner, alone, TEXT[:9])))
        found = lm.head.log_probs(params, y), lm.head.log_prob(params, y, TEXT[1:10])
        return params.cell.features.theta, p, *found

    theta, p, found, logp = map(np.array, distributions(key))
    weights = pairs(LINKS)
    for t, p_t in enumerate(p):
        history = tuple(TEXT[: t + 1].tolist())
        for w, k in product(range(V), (1, 2)):
            if (link := weights.get((history[-k:], w))) is not None and k <= len(history):
                p_t[w] *= np.exp(theta[link])
    np.testing.assert_allclose(np.exp(found), p / p.sum(-1, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(logp, found[np.arange(9), TEXT[1:10]], rtol=1e-10)


def test_weights_of_zero_give_the_model_alone(key):
    @jax.jit
    def losses(key):
        params = LMS["tied_sampled"].init(key)
        of = lambda lm, params: models.loss(
            lm, params, lm.cell.initial_state(params.cell, (2,)), TOKENS, TARGETS, key
        )[1]
        return of(LMS["tied_sampled"], params), of(INNER["tied_sampled"], without(params))

    np.testing.assert_allclose(*losses(key), rtol=1e-12)


def test_the_loss_on_every_word_drawn_once_is_the_exact_one(key):
    """In values and gradients, those of the weights too."""
    lm = LMS["tied_sampled"]

    @jax.jit
    def found_and_expected(key):
        params = weighted(lm.init(key), key)
        y = read(lm, params, TOKENS)

        def total(theta, loss):
            logp = loss(with_theta(params, theta), y, jnp.asarray(TARGETS))
            return jnp.abs(logp).sum()

        sampled = lambda *arguments: lm.head.loss(*arguments, key)
        each = sampled, lm.head.log_prob
        return [jax.value_and_grad(total)(params.cell.features.theta, loss) for loss in each]

    chex.assert_trees_all_close(*found_and_expected(key), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("features", [OBSERVED, maxent.hashed(V, 3, 6)])
def test_what_is_added_to_some_words_is_what_is_added_to_all(features, key):
    history = np.array([[[3, 1], [-1, 2]], [[-1, -1], [0, 4]]])
    token, drawn = np.array([[0, 1], [2, 4]]), np.array([3, 3, 0, 3, 1])

    @jax.jit
    def both(key):
        params = jax.tree.map(
            lambda x: x + jax.random.normal(key, x.shape) if x.dtype == float else x,
            features.init(key),
        )
        everywhere = features.everywhere(params, history)
        return everywhere, *features.at(params, history, token, drawn)

    everywhere, own, others = map(np.asarray, both(key))
    np.testing.assert_allclose(others, everywhere[..., drawn], rtol=1e-12)
    np.testing.assert_allclose(own, np.take_along_axis(everywhere, token[..., None], -1)[..., 0])
    assert not everywhere[1, 0].any()  # no words, no features


def test_a_large_table_holds_the_weights_of_the_links(key):
    """With the weight of each link in its place, which no other has, it gives the same sums."""
    everywhere = jax.jit(maxent.hashed(V, 3, 20).everywhere)
    place = lambda history: everywhere(jnp.arange(2.0**20), jnp.array(history))
    links, theta = pairs(LINKS), jax.random.normal(key, LINKS.follower.shape)
    table = np.zeros(2**20)
    contexts = np.array([[-1, *c][-2:] for c, _ in links])
    last = np.stack([np.full(len(contexts), -1), contexts[:, 1]], -1)
    places = place(contexts) - np.where(contexts[:, :1] < 0, 0, place(last))
    places = np.asarray(places)[np.arange(len(links)), [w for _, w in links]].astype(int)
    assert len(set(places)) == len(links)
    table[places] = theta[np.array(list(links.values()))]
    history = jnp.array(list(product(range(V), repeat=2)))
    expected = OBSERVED.everywhere(OBSERVED.init(key)._replace(theta=theta), history)
    np.testing.assert_allclose(everywhere(jnp.asarray(table), history), expected, rtol=1e-12)


def test_the_most_probable_weights_give_the_relative_frequencies(key):
    """Beside a model that knows nothing: the loss, which is convex, has no gradient there."""
    text = TEXT % 3
    links = maxent.link(text, 2, vocab_size=3)
    lm = maxent.maxent(models.recurrent(cells.rnn(2, 2), vocab_size=3), maxent.observed(links, 3))
    y = lambda words: Read(jnp.zeros((len(words), 2)), jnp.asarray(words)[:, None])
    counts = np.zeros((3, 3))
    np.add.at(counts, (text[:-1], text[1:]), 1)
    frequencies = counts / counts.sum(-1, keepdims=True)
    places = list(pairs(links))
    theta = jnp.log(frequencies[[c for (c,), _ in places], [w for _, w in places]])

    @jax.jit
    def gradient_and_distributions(theta, key):
        params = lm.init(key)
        loss = lambda theta: (
            -lm.head.log_prob(with_theta(params, theta), y(text[:-1]), jnp.asarray(text[1:])).mean()
        )
        logp = lm.head.log_probs(with_theta(params, theta), y(np.arange(3)))
        return jax.grad(loss)(theta), jax.grad(loss)(0 * theta), jnp.exp(logp)

    there, elsewhere, found = gradient_and_distributions(theta, key)
    assert jnp.abs(there).max() < 1e-12 < 0.01 < jnp.abs(elsewhere).max()
    np.testing.assert_allclose(found, frequencies, rtol=1e-12)


def test_it_obeys_the_laws_of_a_cell(key):
    check_cell(LMS["softmax"].cell, key, (jnp.ones(N), jnp.int32(2)))


@pytest.mark.parametrize("name", ["softmax", "tied_sampled"])
def test_words_outside_the_vocabulary_are_nan_and_padding_is_nothing(name, key):
    lm = LMS[name]
    targets = jnp.asarray(TARGETS).at[1, 1].set(-1).at[2, 0].set(V)
    wrong = (targets < 0) | (targets >= V)

    @jax.jit
    def score_and_gradient(key):
        params = weighted(lm.init(key), key)
        y = read(lm, params, TOKENS)

        def padded(theta):
            losses = lm.head.loss(with_theta(params, theta), y, targets, key)
            return jnp.where(wrong, 0, losses).sum()

        return lm.head.log_prob(params, y, targets), jax.grad(padded)(params.cell.features.theta)

    logp, gradient = score_and_gradient(key)
    np.testing.assert_array_equal(jnp.isnan(logp), wrong)
    assert jnp.isfinite(gradient).all() and gradient.any()


def test_a_step_on_the_rows_of_a_batch_is_the_step_on_all_and_keeps_the_links(key):
    lm = LMS["tied_sampled"]
    dense = lm._replace(embed=lambda embed, tokens: (embed[tokens], tokens))
    batch = data.Batch(TOKENS, TARGETS, TOKENS >= 0)
    sgd = train.optimizer("sgd", 0.5, max_norm=0.1)
    (sparse, _), (whole, _) = (
        train.step(m, sgd, train.init_state(m, sgd, key, 2), batch) for m in (lm, dense)
    )
    chex.assert_trees_all_close(sparse.params, whole.params, rtol=1e-12, atol=1e-14)
    chex.assert_trees_all_equal(sparse.params.cell.features.links, jax.tree.map(jnp.asarray, LINKS))
    assert 3 < (sparse.params.cell.features.theta != 0).sum() < len(LINKS.follower)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: maxent.link(TEXT, 1, vocab_size=V), "order: must be at least 2, got 1"),
        (lambda: maxent.link(TEXT, 2, vocab_size=V, successors=0), "successors: must be at least"),
        (lambda: maxent.link(TEXT, 2, vocab_size=V, min_count=99), "min_count: no word follows"),
        (lambda: maxent.link(TEXT, 2, vocab_size=3), "ids: from 0 to 2, got 0 to 4"),
        (lambda: maxent.hashed(V, 1, 9), "order: must be at least 2, got 1"),
        (lambda: maxent.hashed(V, 2, 32), "bits: must be at most 31, got 32"),
        (
            lambda: maxent.maxent(INNER["softmax"], maxent.hashed(6, 2, 9)),
            "maxent: the model has 5 words, the features have 6",
        ),
        (lambda: train.build(train.Model(maxent=2), V), "links: a model with maxent needs those"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
