"""The fixed window: its equation, and what it cannot see."""

import jax
import jax.numpy as jnp
import numpy as np

from lmjax import analysis, cells, models
from lmjax.unroll import unroll

T, B, N_IN, N, K = 7, 2, 3, 4, 3


def test_it_is_its_equation_also_across_a_cut(key):
    cell = cells.window(N_IN, N, words=K)
    params, xs = cell.init(key), jax.random.normal(key, (T, B, N_IN))
    begin, first = unroll(cell, params, cell.initial_state(params, (B,)), xs[:4])
    _, rest = unroll(cell, params, begin, xs[4:])
    found = jnp.concatenate([cell.read(params, states) for states in (first, rest)])
    padded = np.concatenate([np.zeros((K - 1, B, N_IN)), xs])
    for t in range(T):
        z = sum(padded[t + j] @ params.w[j] for j in range(K)) + params.b
        np.testing.assert_allclose(found[t], np.tanh(z), rtol=1e-12)


def test_what_is_further_back_than_the_window_has_no_effect(key):
    cell = cells.window(N_IN, N, words=K)
    params, xs = cell.init(key), jax.random.normal(key, (T, N_IN))

    def last(xs):
        return cell.read(params, unroll(cell, params, cell.initial_state(params), xs)[0]).sum()

    by_step = jnp.abs(jax.grad(last)(xs)).sum(-1)
    assert (by_step[: T - K] == 0).all() and (by_step[T - K :] > 0).all()


def test_a_step_moves_the_words_by_one_place(key):
    """ds_t/ds_{t-1} is the identity one block off the diagonal: its K-th power is 0."""
    cell = cells.window(2, N, words=K)
    params = cell.init(key)
    (jacobian,) = analysis.step_jacobians(
        cell, params, cell.initial_state(params), jnp.ones((1, 2))
    )
    np.testing.assert_array_equal(jacobian, np.eye(2 * K, k=2))


def test_direct_connections_add_a_linear_map_of_the_word_vectors(key):
    direct = cells.window(N_IN, N, words=K, direct=True)
    lm = models.recurrent(direct, vocab_size=5, embedding_size=N_IN)
    params = lm.init(key)
    text = jnp.array([1, 0, 4, 4, 2])
    _, states = models.states(lm, params, direct.initial_state(params.cell), text)
    e = jnp.concatenate(states, -1)
    h = cells.window(N_IN, N, words=K).read(params.cell, states)
    u, v = params.head.w[:, :N], params.head.w[:, N:]
    expected = jax.nn.log_softmax(h @ u.T + e @ v.T + params.head.b)
    np.testing.assert_allclose(models.next_log_probs(lm, params, states), expected, rtol=1e-12)


def test_no_loop_runs_over_time(key):
    cell = cells.window(N_IN, N, words=K)
    params = cell.init(key)
    arguments = cell.initial_state(params, (B,)), jnp.ones((T, B, N_IN))
    program = str(jax.make_jaxpr(lambda *a: unroll(cell, params, *a))(*arguments))
    assert "scan" not in program and "while" not in program
