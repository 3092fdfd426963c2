"""Cells against flax, torch's formulas, and the laws of their equations."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from lmjax import analysis, cells, models
from lmjax.cells import Linear, LSTMState, initial
from lmjax.unroll import unroll

N_IN, N, T, B = 3, 4, 6, 2


@pytest.fixture
def inputs(key):
    return jax.random.normal(key, (T, B, N_IN))


def random_like(key, tree):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )


def states(cell, params, xs):
    return unroll(cell, params, cell.initial_state(params, (B,)), xs)[1]


def linen(layer, variables, xs):
    """All states of a linen cell, as a plain loop."""
    carry, out = layer.initialize_carry(jax.random.key(0), xs[0].shape), []
    for x in xs:
        carry, y = layer.apply(variables, carry, x)
        out.append(y)
    return jnp.stack(out)


def columns(maps, names, kind="kernel"):
    return jnp.concatenate([maps[name][kind] for name in names], axis=-1)


def test_rnn_is_linens_simple_cell(key, inputs):
    layer = nn.SimpleCell(N, param_dtype=float)
    variables = random_like(key, layer.init(key, jnp.zeros((B, N)), inputs[0]))
    p = variables["params"]
    params = Linear(p["i"]["kernel"], p["h"]["kernel"], p["i"]["bias"])
    np.testing.assert_allclose(
        states(cells.rnn(N_IN, N), params, inputs), linen(layer, variables, inputs), rtol=1e-12
    )


def test_lstm_is_linens(key, inputs):
    layer = nn.OptimizedLSTMCell(N, param_dtype=float)
    variables = random_like(key, layer.init(key, (jnp.zeros((B, N)),) * 2, inputs[0]))
    p = variables["params"]
    h = ["hi", "hf", "hg", "ho"]
    params = Linear(columns(p, ["ii", "if", "ig", "io"]), columns(p, h), columns(p, h, "bias"))
    ours = states(cells.lstm(N_IN, N), params, inputs)
    np.testing.assert_allclose(ours.h, linen(layer, variables, inputs), rtol=1e-12)


def test_gru_reset_after_is_linens(key, inputs):
    """Linen writes h = z h + (1 - z) n: its z is our 1 - z, so its z weights change sign."""
    layer = nn.GRUCell(N, param_dtype=float)
    variables = random_like(key, layer.init(key, jnp.zeros((B, N)), inputs[0]))
    p = variables["params"]
    p = p | {name: jax.tree.map(jnp.negative, p[name]) for name in ("iz", "hz")}
    i, h = ["in", "iz", "ir"], ["hz", "hr", "hn"]
    params = Linear(columns(p, i), columns(p, h), columns(p, [*i, "hn"], "bias"))
    cell = cells.gru(N_IN, N, reset_after=True)
    np.testing.assert_allclose(
        states(cell, params, inputs), linen(layer, variables, inputs), rtol=1e-12
    )


def test_gru_is_the_lectures_equations(key, inputs):
    cell = cells.gru(N_IN, N)
    params = random_like(key, cell.init(key))
    (wz, wr, wc), (uz, ur, uc), (bz, br, bc) = (jnp.split(p, 3, -1) for p in params)
    h = jnp.zeros((B, N))
    for x, found in zip(inputs, states(cell, params, inputs), strict=True):
        z, r = sigmoid(h @ uz + x @ wz + bz), sigmoid(h @ ur + x @ wr + br)
        h = (1 - z) * h + z * jnp.tanh((r * h) @ uc + x @ wc + bc)
        np.testing.assert_allclose(found, h, rtol=1e-12)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_torchs_layers(kind, key, inputs):
    torch = pytest.importorskip("torch")
    layer = getattr(torch.nn, kind)(N_IN, N).double()
    w_x, w_h, b_x, b_h = (p.detach().numpy() for p in layer.parameters())
    with torch.no_grad():
        expected = layer(torch.tensor(np.asarray(inputs)))[0].numpy()
    if kind == "GRU":  # blocks r z n, and torch's z is our 1 - z
        parts = lambda w: (-w[N : 2 * N], w[:N], w[2 * N :])
        (z_x, r_x, n_x), (z_h, r_h, n_h), (z_b, r_b, _) = parts(w_x), parts(w_h), parts(b_x + b_h)
        b = np.concatenate([b_x[2 * N :], z_b, r_b, b_h[2 * N :]])
        params = Linear(np.concatenate([n_x, z_x, r_x]).T, np.concatenate([z_h, r_h, n_h]).T, b)
        found = states(cells.gru(N_IN, N, reset_after=True), params, inputs)
    else:
        cell = cells.lstm(N_IN, N) if kind == "LSTM" else cells.rnn(N_IN, N)
        found = states(cell, Linear(w_x.T, w_h.T, b_x + b_h), inputs)
    np.testing.assert_allclose(found.h if kind == "LSTM" else found, expected, rtol=1e-10)


def test_lstm_that_forgets_nothing_keeps_its_cell(key, inputs):
    cell = cells.lstm(N_IN, N)
    closed = jnp.repeat(jnp.array([-100.0, 100.0, 0.0, 0.0]), N)  # i = 0, f = 1
    params = cell.init(key)._replace(b=closed)
    start = LSTMState(h=jnp.zeros((B, N)), c=jax.random.normal(key, (B, N)))
    np.testing.assert_allclose(unroll(cell, params, start, inputs)[0].c, start.c, rtol=1e-12)


def test_mingru_is_its_equation(key, inputs):
    cell = cells.mingru(N_IN, N)
    params = random_like(key, cell.init(key))
    (wz, w), (bz, b) = (jnp.split(p, 2, -1) for p in params)
    h = jnp.zeros((B, N))
    for x, found in zip(inputs, states(cell, params, inputs), strict=True):
        z = sigmoid(x @ wz + bz)
        h = (1 - z) * h + z * (x @ w + b)
        np.testing.assert_allclose(found, h, rtol=1e-12)
    gates = analysis.gate_values(cell, params, cell.initial_state(params, (B,)), inputs)
    np.testing.assert_allclose(gates["z"][-1], z, rtol=1e-12)
    np.testing.assert_allclose(gates["f"] + gates["z"], 1)


def test_a_diagonal_cells_jacobian_is_its_decay_and_its_memory_a_sum_of_powers(key, inputs):
    cell = cells.diagonal(N_IN, N)
    params = random_like(key, cell.init(key))
    a, x = sigmoid(params.logit), inputs @ params.w_x + params.b
    powers = a ** jnp.arange(T)[::-1, None, None]
    np.testing.assert_allclose(states(cell, params, inputs)[-1], (powers * x).sum(0), rtol=1e-10)
    jacobians = analysis.step_jacobians(cell, params, jnp.ones(N), inputs[:, 0])
    np.testing.assert_allclose(jacobians, np.broadcast_to(np.diag(a), (T, N, N)), rtol=1e-12)


def test_linear_cell_is_the_power_of_its_matrix(key):
    cell = cells.rnn(N, N, activation=lambda z: z)
    params = cell.init(key)
    h0 = jax.random.normal(key, (B, N))
    final, _ = unroll(cell, params, h0, jnp.zeros((T, B, N)))
    np.testing.assert_allclose(final, h0 @ np.linalg.matrix_power(params.w_h, T), rtol=1e-12)


def test_stack_of_one_is_its_cell(key, inputs):
    cell = cells.gru(N_IN, N)
    params = cell.init(key)
    chex.assert_trees_all_close(
        states(cells.stack(cell), (params,), inputs)[0], states(cell, params, inputs)
    )


def test_stack_steps_as_it_unrolls(key, inputs):
    cell = cells.stack(cells.lstm(N_IN, N), cells.gru(N, 2))
    params = cell.init(key)
    state = cell.initial_state(params, (B,))
    for x in inputs:
        state = cell.step(params, state, cell.encode(params, x))
    chex.assert_trees_all_close(
        unroll(cell, params, cell.initial_state(params, (B,)), inputs)[0], state, rtol=1e-12
    )


def test_bidirectional_reads_each_sequence_from_its_own_ends(key, inputs):
    cell = cells.gru(N_IN, N)
    encoder = cells.bidirectional(cell, cell)
    params = encoder.init(key)
    mask = jnp.arange(T)[:, None] < jnp.array([T, 3])
    found = encoder.encode(params, inputs, mask)
    short = encoder.encode(params, inputs[:3, 1:])
    np.testing.assert_allclose(found[:3, 1:], short, rtol=1e-12)
    flipped = encoder.encode(params[::-1], inputs[::-1])[::-1]
    np.testing.assert_allclose(found[:, 0], jnp.roll(flipped, N, -1)[:, 0], rtol=1e-12)


def test_encoders_on_top_of_each_other_see_no_padding(key, inputs):
    """A deep encoder is its layers, one after the other; longer padding changes nothing."""
    make = lambda n_in: cells.bidirectional(cells.lstm(n_in, 3), cells.rnn(n_in, 2))
    layers = make(N_IN), cells.unidirectional(cells.gru(5, 4))
    encoder = cells.deep(*layers)
    params = encoder.init(key)
    by_hand = inputs
    for layer, p in zip(layers, params, strict=True):
        by_hand = layer.encode(p, by_hand)
    np.testing.assert_array_equal(encoder.encode(params, inputs), by_hand)
    mask = jnp.arange(2 * T)[:, None] < T
    padded = jnp.concatenate([inputs, jnp.full_like(inputs, jnp.nan)])
    found = encoder.encode(params, padded, jnp.broadcast_to(mask, (2 * T, B)))[:T]
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)


def test_an_encoder_is_no_language_model():
    encoder = cells.bidirectional(cells.rnn(4, 2), cells.rnn(4, 2))
    with pytest.raises(
        ValueError, match=r"must be a Cell, got Encoder.*: it may see inputs that come"
    ):
        models.recurrent(encoder, vocab_size=9)
    with pytest.raises(ValueError, match="deep: at least one encoder"):
        cells.deep()


def test_start_values(key):
    w = cells.rnn(N_IN, 16).init(key).w_h
    np.testing.assert_allclose(w @ w.T, np.eye(16), atol=1e-12)
    w = cells.rnn(N_IN, 16, w_h=initial.spectral(0.9)).init(key).w_h
    assert np.abs(np.linalg.eigvals(w)).max() == pytest.approx(0.9)
    assert np.array_equal(
        cells.rnn(N_IN, 3, w_h=initial.identity(0.5)).init(key).w_h, 0.5 * np.eye(3)
    )
    a = sigmoid(cells.diagonal(N_IN, 2000).init(key).logit)
    assert 0 < a.min() < a.max() < 1 and (a**2).mean() == pytest.approx(0.5, abs=0.02)
    assert cells.lstm(N_IN, 2, forget_bias=3.0).init(key).b.tolist() == [0, 0, 3, 3, 0, 0, 0, 0]


def test_equal_arguments_give_equal_cells():
    assert cells.lstm(3, 4) == cells.lstm(3, 4) != cells.lstm(3, 5)
    assert cells.stack(cells.rnn(3, 4)) == cells.stack(cells.rnn(3, 4))


def test_half_precision_weights_keep_a_single_precision_state(key):
    cell = cells.lstm(N_IN, N)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), cell.init(key))
    final, _ = unroll(
        cell, params, cell.initial_state(params, (B,)), jnp.ones((T, B, N_IN), jnp.bfloat16)
    )
    assert final.h.dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cells.lstm(0, 4), "n_in=0, n=4"),
        (lambda: cells.gru(3, -1), "n_in=3, n=-1"),
        (lambda: cells.mingru(3, 0), "n_in=3, n=0"),
        (lambda: cells.stack(), "at least one cell"),
        (
            lambda: cells.stack(cells.rnn(2, 3), cells.lstm(3, 8), cells.gru(4, 4)),
            r"cell 3 does not take what cell 2 reads out: .*\(8,\) and \(4,\)",
        ),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()
