"""The recurrent matrix by itself: eigenvalues, singular values, and how far it is from normal."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["RecurrentSpectrum", "recurrent_spectrum"]


class RecurrentSpectrum(NamedTuple):
    """Spectra of the k blocks (gates) of a recurrent matrix."""

    eigenvalues: jax.Array  # [k, n]  complex, the largest modulus first
    singular_values: jax.Array  # [k, n]  the largest first
    spectral_radius: jax.Array  # [k]  max |lambda|
    departure: jax.Array  # [k]  Henrici's departure from normality


@jax.jit
def recurrent_spectrum(w_h) -> RecurrentSpectrum:
    """Return the spectra of each n x n block of a recurrent matrix, see `lmjax.cell.recurrent_weights`.

        spectral radius  rho = max |lambda_i|,    departure = ( ||W||_F^2 - sum_i |lambda_i|^2 )^(1/2)

    The eigenvalues say how W^l behaves for large l, the singular values what one factor can do. The two
    agree for a normal matrix, whose departure is 0; a departure below sqrt(eps) ||W||_F is rounding.

    Args:
        w_h: `[n, k n]`, k blocks side by side.

    Raises:
        ValueError: `w_h` is not made of square blocks.

    >>> spectrum = recurrent_spectrum(jnp.array([[0.5, 4.0], [0.0, 0.5]]))
    >>> float(spectrum.spectral_radius[0]), float(spectrum.departure[0])
    (0.5, 4.0)

    References: Henrici (1962); Trefethen and Embree (2005), chapter 48.
    """
    if w_h.ndim != 2 or w_h.shape[0] == 0 or w_h.shape[1] % w_h.shape[0]:
        raise ValueError(f"recurrent_spectrum: w_h must be [n, k n], square blocks side by side, got {list(w_h.shape)}")
    blocks = jnp.swapaxes(w_h.reshape(w_h.shape[0], -1, w_h.shape[0]), 0, 1)
    eigenvalues = jnp.linalg.eigvals(blocks)
    order = jnp.argsort(-jnp.abs(eigenvalues), axis=1)
    eigenvalues = jnp.take_along_axis(eigenvalues, order, axis=1)
    modulus = jnp.abs(eigenvalues)
    excess = jnp.sum(blocks**2, axis=(1, 2)) - jnp.sum(modulus**2, axis=1)
    return RecurrentSpectrum(
        eigenvalues=eigenvalues,
        singular_values=jnp.linalg.svd(blocks, compute_uv=False),
        spectral_radius=modulus[:, 0],
        departure=jnp.sqrt(jnp.maximum(excess, 0)),
    )
