"""Sampled losses: against their closed forms, and as the sample grows."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import log_softmax, sigmoid

from lmjax import heads

V, N, K, B = 29, 5, 12, 6
UNIGRAM = heads.unigram(np.arange(1, V + 1), 0.4)


@pytest.fixture
def problem(key):
    """Weights `[V, N]`, biases, features and targets."""
    k = jax.random.split(key, 4)
    w, b = jax.random.normal(k[0], (V, N)), jax.random.normal(k[1], (V,))
    return w, b, jax.random.normal(k[2], (B, N)), jax.random.randint(k[3], (B,), 0, V)


def gradient_of_scores(loss, problem, drawn, log_q):
    """dL/dz `[B, V]`."""
    w, b, y, token = problem
    scores = y @ w.T + b

    def each(z, token):
        return loss(z[token], z[drawn], token, drawn, log_q)

    return jax.vmap(jax.grad(each))(scores, token), scores


def test_the_gradient_of_blackout_is_its_closed_form(problem, key):
    """dL/dz_w = p_w (1 + n - Z) - 1,   dL/dz_v = p_v (1 + n - Z + 1 / (1 - p_v));

    n negatives, Z the sum of their 1 / (1 - p).
    """
    drawn = UNIGRAM.draw(key, K)
    assert (drawn == problem[-1][:, None]).any()  # targets among the words drawn
    found, scores = gradient_of_scores(heads.blackout_loss, problem, drawn, UNIGRAM.log_prob)
    q = np.exp(UNIGRAM.log_prob(np.arange(V)))
    for z, w, gradient in zip(np.asarray(scores), np.asarray(problem[-1]), found, strict=True):
        negatives = [v for v in np.asarray(drawn) if v != w]
        e = np.exp(z) / q
        p = e / (e[w] + sum(e[v] for v in negatives))
        n, total = len(negatives), sum(1 / (1 - p[v]) for v in negatives)
        expected = np.zeros(V)
        expected[w] = p[w] * (1 + n - total) - 1
        for v in negatives:
            expected[v] += p[v] * (1 + n - total + 1 / (1 - p[v]))
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-10)


def test_blackout_is_finite_where_a_negative_has_all_the_probability():
    z, drawn = jnp.array([0.0, 200.0, 0.0]), jnp.array([1, 0, 2])
    arguments = jnp.int32(0), drawn, heads.zipf(3).log_prob
    for dtype in (jnp.float32, jnp.float64):
        loss = lambda z: heads.blackout_loss(z[0], z[drawn], *arguments)
        chex.assert_tree_all_finite(jax.value_and_grad(loss)(z.astype(dtype)))


def test_the_gradient_of_nce_is_its_closed_form(problem, key):
    """dL/dz_w = -(1 - s_w) + ..., dL/dz_v = s_v, for s = sigmoid(z - log K q)."""
    drawn = UNIGRAM.draw(key, K)
    found, scores = gradient_of_scores(heads.nce_loss, problem, drawn, UNIGRAM.log_prob)
    s = sigmoid(scores - UNIGRAM.log_prob(jnp.arange(V)) - jnp.log(K))
    expected = s * jnp.bincount(drawn, length=V)
    expected -= (1 - s) * jax.nn.one_hot(problem[-1], V)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [heads.sampled_loss, heads.nce_loss])
def test_gradients_tend_to_that_of_the_cross_entropy(loss, problem, key):
    """Where the scores are normalised, as noise contrastive estimation asks."""
    w, b, y, token = problem
    y = y[:1]
    b -= jax.nn.logsumexp(y @ w.T + b)
    problem = w, b, y, token[:1]
    cross_entropy = jax.grad(lambda z: -log_softmax(z)[token[0]])((y @ w.T + b)[0])
    errors = []
    for k in (100, 10_000, 1_000_000):
        drawn = UNIGRAM.draw(key, k)
        found, _ = gradient_of_scores(loss, problem, drawn, UNIGRAM.log_prob)
        errors.append(float(jnp.abs(found[0] - cross_entropy).max()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.002


def test_the_first_scores_are_about_normalised(key):
    for share_embedding in (False, True):
        params = heads.sampled(N, V, share_embedding=share_embedding).init(key)
        b = params if share_embedding else params.b
        np.testing.assert_allclose(jnp.exp(b).sum(), 1)


def test_class_factored_reduces_to_the_softmax(key):
    """One class of all words, or classes of one word each."""
    y = jax.random.normal(key, (3, N))
    for classes, rows in ((1, "words"), (V, "classes")):
        head = heads.class_factored(N, V, classes=classes)
        params = head.init(key)
        model = type("Params", (), {"head": params})
        expected = log_softmax(y @ getattr(params, rows).T)
        np.testing.assert_allclose(head.log_probs(model, y), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="classes: at most vocab_size = 4, got 5"):
        heads.class_factored(N, 4, classes=5)
