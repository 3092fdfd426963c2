import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import make

from lmjax import analysis, cells


def test_each_block_has_its_own_spectrum(key):
    blocks = jax.random.normal(key, (3, 5, 5))
    spectrum = analysis.recurrent_spectrum(jnp.concatenate(list(blocks), axis=1))
    for k, block in enumerate(np.asarray(blocks)):
        modulus = np.sort(abs(np.linalg.eigvals(block)))[::-1]
        np.testing.assert_allclose(abs(spectrum.eigenvalues[k]), modulus, atol=1e-12)
        np.testing.assert_allclose(spectrum.eigenvalues[k].sum(), np.trace(block), atol=1e-12)
        np.testing.assert_allclose(
            spectrum.singular_values[k], np.linalg.svd(block, compute_uv=False), atol=1e-12
        )
        np.testing.assert_allclose(spectrum.spectral_radius[k], modulus[0], atol=1e-12)
        np.testing.assert_allclose(
            spectrum.departure[k] ** 2, (block**2).sum() - (modulus**2).sum(), atol=1e-10
        )


def test_normal_matrices_do_not_depart(key):
    q = jax.random.orthogonal(key, 6)
    for normal in (q, q @ jnp.diag(jnp.arange(6.0)) @ q.T):
        assert analysis.recurrent_spectrum(normal).departure[0] < 1e-6


def test_refuses_what_has_no_square_blocks():
    with pytest.raises(ValueError, match=r"\[n, k n\].*got \[3, 4\]"):
        analysis.recurrent_spectrum(jnp.ones((3, 4)))


def test_the_lectures_expansion_sums_to_the_power(key):
    w_h, gradient = jax.random.normal(key, (5, 5)), jax.random.normal(key, (5,))
    lags = jnp.array([0, 1, 7, 40])
    modes = analysis.linear_mode_decay(w_h, gradient, lags)
    for k, lag in enumerate(lags):
        power = np.linalg.matrix_power(w_h.T, int(lag))  # the lecture's W_h multiplies columns
        expansion = (modes.coefficients * modes.eigenvalues ** int(lag)) @ modes.vectors
        np.testing.assert_allclose(expansion.real, gradient @ power, rtol=1e-9)
        np.testing.assert_allclose(
            modes.log_norm[k], np.log(np.linalg.norm(gradient @ power)), atol=1e-10
        )
        terms = np.log(abs(modes.coefficients * modes.eigenvalues ** int(lag)))
        np.testing.assert_allclose(modes.log_modes[k], terms, atol=1e-10)
    far = analysis.linear_mode_decay(0.1 * w_h, gradient, jnp.array([9_000, 10_000])).log_norm
    slope = (far[1] - far[0]) / 1000
    np.testing.assert_allclose(slope, np.log(0.1 * abs(modes.eigenvalues[0])), atol=1e-2)


@pytest.mark.parametrize("n", [2, 3])
def test_a_defective_matrix_is_refused_in_words(n):
    with pytest.raises(ValueError, match="w_h is defective"):
        analysis.linear_mode_decay(
            0.5 * jnp.eye(n) + jnp.diag(jnp.ones(n - 1), 1), jnp.ones(n), jnp.arange(3)
        )
    with pytest.raises(ValueError, match=r"one square matrix, got \[2, 4\]"):
        analysis.linear_mode_decay(jnp.ones((2, 4)), jnp.ones(2), jnp.arange(3))


@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.sigmoid])
@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_pascanus_bounds_hold_on_the_run(activation, gain, key):
    cell = cells.rnn(3, 6, activation=activation, w_h=cells.initial.orthogonal(gain))
    params, xs = cell.init(key), jax.random.normal(key, (20, 3))
    run = cell, params, cell.initial_state(params), xs
    bounds, jacobians = analysis.pascanu_bounds(*run), analysis.step_jacobians(*run)
    norms = np.linalg.norm(jacobians, 2, axis=(1, 2))
    np.testing.assert_allclose(bounds.largest_singular_value, gain)
    # J_t = diag(phi') W_h
    slopes = abs(np.asarray(jacobians) / np.asarray(params.w_h.T)).max(axis=(1, 2))
    np.testing.assert_allclose(bounds.slopes, slopes, rtol=1e-9)
    assert (norms <= bounds.slopes * gain + 1e-12).all() and norms.max() <= bounds.rate + 1e-12
    products = analysis.jacobian_product_norms(jacobians, ord=2, starts=jnp.array([0])).log[0, 1:]
    assert (products <= bounds.log_bound + 1e-10).all()
    assert bounds.vanishes == (bounds.rate < 1) and bounds.may_explode == (bounds.rate > 1)


def test_pascanus_bounds_skip_padding_and_refuse_gates():
    case = make("rnn")
    mask = jnp.array([True, True, True, False, False])
    padded = analysis.pascanu_bounds(*case.run, mask=mask)
    alone = analysis.pascanu_bounds(*case.run[:3], case.xs[:3])
    np.testing.assert_allclose(padded.rate, alone.rate)
    np.testing.assert_allclose(padded.log_bound[2:], alone.log_bound[-1])
    with pytest.raises(ValueError, match="needs a vanilla cell"):
        analysis.pascanu_bounds(*make("lstm").run)
