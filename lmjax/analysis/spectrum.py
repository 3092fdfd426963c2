"""What the recurrent matrix says about vanishing: spectra, the powers W^l, Pascanu's bounds."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmjax.analysis.trajectory import trajectory
from lmjax.cell import recurrent_weights
from lmjax.precision import full_precision

__all__ = [
    "LinearModes",
    "PascanuBounds",
    "RecurrentSpectrum",
    "linear_mode_decay",
    "pascanu_bounds",
    "recurrent_spectrum",
]


class RecurrentSpectrum(NamedTuple):
    """Spectra of the k blocks (gates) of a recurrent matrix."""

    eigenvalues: jax.Array  # [k, n]  complex, the largest modulus first
    singular_values: jax.Array  # [k, n]  the largest first
    spectral_radius: jax.Array  # [k]  max |lambda|
    departure: jax.Array  # [k]  Henrici's departure from normality


@jax.jit
@full_precision
def recurrent_spectrum(w_h) -> RecurrentSpectrum:
    """Return the spectra of each n x n block of a recurrent matrix, see `cell.recurrent_weights`.

        spectral radius  rho = max |lambda_i|
        departure = ( ||W||_F^2 - sum_i |lambda_i|^2 )^(1/2)

    The eigenvalues say how W^l behaves for large l, the singular values what one factor can do. The
    two agree for a normal matrix, whose departure is 0; a departure below sqrt(eps) ||W||_F is
    rounding. On CPU and GPU: XLA has no eigenvalues of a general matrix for TPU.

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
        raise ValueError(
            "recurrent_spectrum: w_h must be [n, k n], square blocks side by side, "
            f"got {list(w_h.shape)}"
        )
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


class LinearModes(NamedTuple):
    """The lecture's expansion g W_h^l = sum_i c_i lambda_i^l q_i of a gradient in eigenvectors."""

    eigenvalues: jax.Array  # [n]  lambda_i, complex, the largest modulus first
    vectors: jax.Array  # [n, n]  q_i, row i, of norm 1
    coefficients: jax.Array  # [n]  c_i, complex
    log_modes: jax.Array  # [L, n]  ln |c_i lambda_i^l|
    log_norm: jax.Array  # [L]  ln || g W_h^l ||, of the sum: less than its modes where they cancel
    condition: jax.Array  # []  of the eigenvectors: 1 for a normal matrix; digits lost in c


def linear_mode_decay(w_h, gradient, lags) -> LinearModes:
    """Expand the gradient of a linear network in eigenvectors: the lecture's proof of vanishing.

        dJ_i/dh_j = dJ_i/dh_i W_h^l = sum_i c_i lambda_i^l q_i,    l = i - j

    The lecture's W_h multiplies a column; ours, `[n, n]`, multiplies a row, z = h w_h, so that
    W_h = w_h^T. The expansion stands for the linear cell alone: the Jacobians of other cells do not
    commute, and the eigenvalues of the factors say nothing about those of a product.

    Not for use under jit: whether the expansion exists is decided by the values. On CPU and GPU
    alone, as `recurrent_spectrum`.

    Args:
        w_h: `[n, n]`.
        gradient: dJ_i/dh_i, `[n]`.
        lags: l, `[L]`, natural numbers.

    Raises:
        ValueError: w_h is not square, or has no basis of eigenvectors (it is defective, or so near
            to it that more than half of the digits of c would be lost).

    >>> modes = linear_mode_decay(jnp.diag(jnp.array([0.9, 0.5])), jnp.ones(2), jnp.arange(3))
    >>> [round(x, 3) for x in jnp.exp(modes.log_norm).tolist()]
    [1.414, 1.03, 0.848]

    References: Pascanu, Mikolov and Bengio (2013), section 2.1.
    """
    if w_h.ndim != 2 or w_h.shape[0] != w_h.shape[1]:
        raise ValueError(f"linear_mode_decay: w_h must be one square matrix, got {list(w_h.shape)}")
    modes = _modes(w_h, gradient, jnp.asarray(lags))
    limit = float(jnp.finfo(w_h.dtype).eps) ** -0.5
    if not float(modes.condition) < limit:
        raise ValueError(
            "linear_mode_decay: w_h is defective: its eigenvectors do not span the space, so that "
            "a gradient has no expansion in them (their condition number is "
            f"{float(modes.condition):.1e}, the limit {limit:.1e}); "
            "the norms of its powers are still there, by jacobian_product_norms"
        )
    return modes


@jax.jit
@full_precision
def _modes(w_h, gradient, lags) -> LinearModes:
    eigenvalues, vectors = jnp.linalg.eig(w_h)  # w_h q = lambda q, so q^T W_h = lambda q^T
    order = jnp.argsort(-jnp.abs(eigenvalues))
    eigenvalues, vectors = eigenvalues[order], vectors[:, order]
    coefficients = jnp.linalg.solve(vectors, gradient.astype(vectors.dtype))
    phases = jnp.angle(coefficients) + lags[:, None] * jnp.angle(eigenvalues)
    decay = jnp.where(lags[:, None] == 0, 0, lags[:, None] * jnp.log(jnp.abs(eigenvalues)))
    log_modes = jnp.log(jnp.abs(coefficients)) + decay
    largest = jnp.max(log_modes, axis=1, keepdims=True)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    total = (jnp.exp(log_modes - largest) * jnp.exp(1j * phases)) @ vectors.T
    log_norm = jnp.log(jnp.linalg.norm(total, axis=1)) + largest[:, 0]
    return LinearModes(
        eigenvalues, vectors.T, coefficients, log_modes, log_norm, jnp.linalg.cond(vectors)
    )


class PascanuBounds(NamedTuple):
    """Pascanu's two conditions on the recurrent matrix, with the slope that was measured."""

    largest_singular_value: jax.Array  # []  sigma_1 of W_h
    slopes: jax.Array  # [T]  gamma_t = max_a |phi'(z_t[a])|
    rate: jax.Array  # []  sigma_1 max_t gamma_t, at least || J_t || for every t
    log_bound: jax.Array  # [T]  sum_{s <= t} ln(sigma_1 gamma_s), at least ln || dh_t/dh_0 ||
    vanishes: jax.Array  # []  rate < 1: sufficient for vanishing
    may_explode: jax.Array  # []  rate > 1: necessary, not sufficient, for exploding


@partial(jax.jit, static_argnames="cell")
@full_precision
def pascanu_bounds(cell, params, state, xs, *, mask=None) -> PascanuBounds:
    """Return Pascanu's bounds for the vanilla network h_t = phi(h_{t-1} W_h + x_t W_x + b).

        || J_t ||  <=  max_a |phi'(z_t[a])|  sigma_1(W_h)  =  gamma_t sigma_1

    Vanishing is certain where sigma_1 < 1 / gamma, exploding possible only where sigma_1 > 1 /
    gamma. For tanh gamma is 1 at most; what the units do on these inputs is mostly less, so it is
    measured.

    Args:
        cell: a cell with one state h `[n]` and one square recurrent matrix, whose step takes z
            elementwise.
        params: its parameters.
        state: h_0 of one sequence.
        xs: inputs `[T, ...]`.
        mask: bool `[T]`; a padded step has || J_t || = 1, and is left out of `rate`.

    Raises:
        ValueError: the cell is of another form, such as one with gates.

    >>> from lmjax.cells import initial, rnn
    >>> cell = rnn(1, 3, w_h=initial.orthogonal(0.9))
    >>> params = cell.init(jax.random.key(0))
    >>> bool(pascanu_bounds(cell, params, cell.initial_state(params), jnp.ones((5, 1))).vanishes)
    True

    References: Pascanu, Mikolov and Bengio (2013), section 2.1.
    """
    matrices, leaves = list(recurrent_weights(params).values()), jax.tree.leaves(state)
    run = trajectory(cell, params, state, xs, mask)
    inputs = jax.tree.leaves(run.inputs)
    size = leaves[0].shape if len(leaves) == 1 else ()
    if (
        len(size) != 1
        or [w.shape for w in matrices] != [size * 2]
        or [x.shape[1:] for x in inputs] != [size]
    ):
        raise ValueError(
            "pascanu_bounds: needs a vanilla cell, with one state [n], one w_h [n, n] and input "
            f"z [n]; got state {[x.shape for x in leaves]}, w_h {[w.shape for w in matrices]}, "
            f"input {[x.shape[1:] for x in inputs]}"
        )
    ones = jax.tree.map(jnp.ones_like, state)
    gradients = jax.vmap(lambda step: jax.tree.leaves(run.pullback(step)(ones)[2])[0])(run.steps)
    valid = jnp.ones(len(gradients), bool) if mask is None else mask
    slopes = jnp.where(valid, jnp.max(jnp.abs(gradients), axis=1), 0)
    largest = jnp.linalg.norm(matrices[0], 2)
    rate = largest * jnp.max(slopes)
    return PascanuBounds(
        largest_singular_value=largest,
        slopes=slopes,
        rate=rate,
        log_bound=jnp.cumsum(jnp.where(valid, jnp.log(largest * slopes), 0)),
        vanishes=rate < 1,
        may_explode=rate > 1,
    )
