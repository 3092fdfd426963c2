import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import analysis


def test_each_block_has_its_own_spectrum(key):
    blocks = jax.random.normal(key, (3, 5, 5))
    spectrum = analysis.recurrent_spectrum(jnp.concatenate(list(blocks), axis=1))
    for k, block in enumerate(np.asarray(blocks)):
        modulus = np.sort(abs(np.linalg.eigvals(block)))[::-1]
        np.testing.assert_allclose(abs(spectrum.eigenvalues[k]), modulus, atol=1e-12)
        np.testing.assert_allclose(spectrum.eigenvalues[k].sum(), np.trace(block), atol=1e-12)
        np.testing.assert_allclose(spectrum.singular_values[k], np.linalg.svd(block, compute_uv=False), atol=1e-12)
        np.testing.assert_allclose(spectrum.spectral_radius[k], modulus[0], atol=1e-12)
        np.testing.assert_allclose(spectrum.departure[k] ** 2, (block**2).sum() - (modulus**2).sum(), atol=1e-10)


def test_normal_matrices_do_not_depart(key):
    q = jax.random.orthogonal(key, 6)
    for normal in (q, q @ jnp.diag(jnp.arange(6.0)) @ q.T):
        assert analysis.recurrent_spectrum(normal).departure[0] < 1e-6


def test_refuses_what_has_no_square_blocks():
    with pytest.raises(ValueError, match=r"\[n, k n\].*got \[3, 4\]"):
        analysis.recurrent_spectrum(jnp.ones((3, 4)))
