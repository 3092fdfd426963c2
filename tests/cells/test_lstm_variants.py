"""LSTMs with projection and with layer normalisation: reductions and equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

from lmjax import cells
from lmjax.unroll import unroll

T, B, N_IN, N, M = 6, 2, 3, 4, 7


def hidden(cell, params, xs):
    return unroll(cell, params, cell.initial_state(params, (B,)), xs)[1].h


def moved(key, params):
    """Parameters away from their beginning, where gains are 1 and biases 0."""
    noise = lambda x: x + 0.3 * jax.random.normal(jax.random.fold_in(key, x.size), x.shape)
    return jax.tree.map(noise, params)


def test_projected_by_the_identity_it_is_the_lstm(key):
    params, xs = cells.lstm(N_IN, N).init(key), jax.random.normal(key, (T, B, N_IN))
    cell = cells.lstm_projected(N_IN, N, memory=N)
    found = hidden(cell, cells.ProjectedLSTM(*params, jnp.eye(N)), xs)
    np.testing.assert_allclose(found, hidden(cells.lstm(N_IN, N), params, xs), rtol=1e-12)


def test_projected_is_torchs_layer(key):
    torch = pytest.importorskip("torch")
    layer = torch.nn.LSTM(N_IN, M, proj_size=N).double()
    w_x, w_h, b_x, b_h, w_p = (p.detach().numpy() for p in layer.parameters())
    params = cells.ProjectedLSTM(w_x.T, w_h.T, b_x + b_h, w_p.T)
    xs = jax.random.normal(key, (T, B, N_IN))
    with torch.no_grad():
        expected = layer(torch.tensor(np.asarray(xs)))[0].numpy()
    found = hidden(cells.lstm_projected(N_IN, N, memory=M), params, xs)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_published_sizes_by_abstract_evaluation(key):
    """LSTM-2048-512 over 793,471 words, and two layers of 8192-1024: the sizes of their tables."""
    size = lambda cell: sum(x.size for x in jax.tree.leaves(jax.eval_shape(cell.init, key)))
    assert size(cells.lstm_projected(512, 512)) == 1024 * 8192 + 8192 + 2048 * 512
    big = cells.stack(*[cells.lstm_projected(1024, 1024, memory=8192)] * 2)
    assert size(big) == 2 * (2048 * 32768 + 32768 + 8192 * 1024)


def test_layer_norm_is_its_equation(key):
    cell = cells.lstm_layer_norm(N_IN, N)
    params, xs = moved(key, cell.init(key)), jax.random.normal(key, (T, B, N_IN))

    def normal(z):
        centred = z - z.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)

    h = c = np.zeros((B, N))
    for x, found in zip(xs, hidden(cell, params, xs), strict=True):
        linear = params.linear
        z = params.gain_h * normal(h @ linear.w_h) + params.gain_x * normal(x @ linear.w_x)
        i, f, g, o = np.split(z + linear.b, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(params.gain_c * normal(c) + params.bias_c)
        np.testing.assert_allclose(found, h, rtol=1e-10)


def test_layer_norm_does_not_see_the_scale_of_its_input(key):
    cell = cells.lstm_layer_norm(N_IN, N)
    params, xs = cell.init(key), jax.random.normal(key, (T, B, N_IN))
    found, scaled = hidden(cell, params, 100 * xs), hidden(cell, params, 1000 * xs)
    np.testing.assert_allclose(found, scaled, rtol=1e-4)
