"""The gates are those of the step, and memory is as long as closed forms say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells
from lmjax.analysis import gate_saturation, gate_values, memory_horizon, time_constants
from lmjax.unroll import unroll

T, B, N_IN, N = 7, 3, 4, 5


def run(cell, key, mask=None):
    params = jax.tree.map(lambda p: 1.5 * p, cell.init(key))
    state = cell.initial_state(params, (B,))
    xs = jax.random.normal(key, (T, B, N_IN))
    return params, state, xs, unroll(cell, params, state, xs, mask=mask)[1]


def before(first, states):
    return jnp.concatenate([first[None], states[:-1]])


def test_the_gates_of_an_lstm_give_its_states_back(key):
    cell = cells.lstm(N_IN, N)
    params, state, xs, states = run(cell, key)
    gates = gate_values(cell, params, state, xs)
    assert sorted(gates) == ["f", "i", "o"]
    np.testing.assert_allclose(gates["o"] * jnp.tanh(states.c), states.h, atol=1e-14)
    new = (states.c - gates["f"] * before(state.c, states.c)) / gates["i"]  # tanh(g)
    g = cell.encode(params, xs) + before(state.h, states.h) @ params.w_h
    np.testing.assert_allclose(new, jnp.tanh(g[..., 2 * N : 3 * N]), atol=1e-12)


@pytest.mark.parametrize("reset_after", [False, True])
def test_the_gates_of_a_gru_give_its_states_back(key, reset_after):
    cell = cells.gru(N_IN, N, reset_after=reset_after)
    params, state, xs, h = run(cell, key)
    gates, h_prev = gate_values(cell, params, state, xs), before(state, h)
    z, r, w = gates["z"], gates["r"], params.w_h[:, 2 * N :]
    x = cell.encode(params, xs)
    if reset_after:
        candidate = jnp.tanh(x[..., :N] + r * (h_prev @ w + params.b[3 * N :]))
    else:
        candidate = jnp.tanh(x[..., 2 * N :] + (r * h_prev) @ w)
    np.testing.assert_allclose((1 - z) * h_prev + z * candidate, h, atol=1e-14)
    np.testing.assert_array_equal(gates["f"], 1 - z)


def test_a_stack_names_the_gates_of_each_layer_that_has_some(key):
    cell = cells.stack(cells.lstm(N_IN, N), cells.rnn(N, N), cells.gru(N, 2))
    params, state, xs, states = run(cell, key)
    gates = gate_values(cell, params, state, xs)
    assert sorted(gates) == ["0.f", "0.i", "0.o", "2.f", "2.r", "2.z"]
    alone = gate_values(cells.gru(N, 2), params[2], state[2], states[1])
    np.testing.assert_allclose(gates["2.r"], alone["r"], atol=1e-14)


def test_a_cell_without_named_gates_is_refused(key):
    for cell in (cells.rnn(N_IN, N), cells.stack(cells.rnn(N_IN, N))):
        params, state, xs, _ = run(cell, key)
        with pytest.raises(ValueError, match="names no gates"):
            gate_values(cell, params, state, xs)


def test_padding_has_no_effect(key):
    cell = cells.lstm(N_IN, N)
    mask = jnp.arange(T)[:, None] < jnp.array([T, 4, 2])
    params, state, xs, _ = run(cell, key)
    gate = gate_values(cell, params, state, jnp.where(mask[..., None], xs, jnp.nan), mask=mask)["f"]
    by_hand = np.concatenate([gate[:length, b] for b, length in enumerate((T, 4, 2))])
    left, right = gate_saturation(gate, low=0.6, high=0.8, mask=mask)
    np.testing.assert_allclose(left, (by_hand < 0.6).mean(0))
    np.testing.assert_allclose(right, (by_hand > 0.8).mean(0))
    np.testing.assert_allclose(
        time_constants(gate, mask=mask), -1 / np.log(by_hand).mean(0), rtol=1e-12
    )


@pytest.mark.parametrize("bias", [-2.0, 0.0, 1.0, 5.0])
def test_without_weights_the_forget_bias_sets_the_time_constant(key, bias):
    cell = cells.lstm(N_IN, N, forget_bias=bias)
    params = cell.init(key)
    params = params._replace(w_h=0 * params.w_h, w_x=0 * params.w_x)
    gates = gate_values(cell, params, cell.initial_state(params), jnp.ones((T, N_IN)))
    np.testing.assert_allclose(
        time_constants(gates["f"]), 1 / jnp.log1p(jnp.exp(-bias)), rtol=1e-12
    )
    share = gate_saturation(gates["f"])
    np.testing.assert_array_equal(share.left + share.right, np.full(N, float(bias == 5.0)))


def test_a_gate_that_never_closes_keeps_for_ever_and_one_that_closes_once_forgets():
    np.testing.assert_array_equal(time_constants(jnp.array([[1.0, 1.0], [1.0, 0.0]])), [jnp.inf, 0])


def test_the_product_of_the_forget_gates_is_the_memory_that_is_left(key):
    f = jax.random.uniform(key, (50, N))
    np.testing.assert_allclose(jnp.exp(-50 / time_constants(f)), jnp.prod(f, 0), rtol=1e-10)


@pytest.mark.parametrize("fraction", [0.5, 0.1, 1e-3])
def test_the_horizon_of_a_geometric_decay_has_a_closed_form(fraction):
    taus = jnp.array([0.7, 5.3, 41.0])
    horizon = memory_horizon(2.0 - jnp.arange(400) / taus[:, None], fraction=fraction)
    np.testing.assert_array_equal(horizon.lag, np.ceil(-taus * np.log(fraction)))
    np.testing.assert_allclose(horizon.time_constant, taus, rtol=1e-10)


def test_horizons_of_norms_that_grow_stay_or_end():
    nan, inf = jnp.nan, jnp.inf
    norms = jnp.array([[0.0, 2, 4, 6], [0, 0, 0, 0], [0, -1, -inf, -inf], [0, -1, nan, nan]])
    horizon = memory_horizon(norms, fraction=0.01)
    np.testing.assert_array_equal(horizon.lag, [inf, inf, 2, inf])
    np.testing.assert_allclose(horizon.time_constant, [-0.5, inf, 1, 1])


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
        memory_horizon(jnp.zeros(3), fraction=fraction)
