"""The diagonal linear network: leaky integrators whose decays are learnt."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell, affine
from lmjax.cells.linear import check_sizes, uniform, zero_state
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["Diagonal", "diagonal"]


class Diagonal(NamedTuple):
    """Parameters of a diagonal linear network."""

    w_x: jax.Array  # [n_in, n]
    b: jax.Array  # [n]
    logit: jax.Array  # [n]  of the decay: a = sigmoid(logit)


@factory
def diagonal(n_in: int, n: int) -> Cell:
    """Return the diagonal linear network: every unit a leaky integrator that learns its decay.

        h_t = a h_{t-1} + x_t W_x + b,    a = sigmoid(logit) in (0, 1)^n

    The Jacobian over k steps is diag(a)^k: what the lecture's proof says of a linear cell, unit by
    unit. At first a^2 is uniform in (0, 1), as are the squared moduli of a random matrix's
    eigenvalues.

    Args:
        n_in: size of x_t.
        n: size of h_t.

    Raises:
        ValueError: a size is not positive.

    >>> cell = diagonal(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Gupta, Mehta and Berant (2022); Orvieto et al. (2023) for the decays at first.
    """
    check_sizes(n_in, n)

    def init(key) -> Diagonal:
        k_x, k_a = jax.random.split(key)
        a = jax.random.uniform(k_a, (n,), minval=1e-3, maxval=1 - 1e-3) ** 0.5
        return Diagonal(uniform(k_x, n_in, n), jnp.zeros(n), jnp.log(a / (1 - a)))

    def encode(params, xs):
        b = matmul(xs, params.w_x) + params.b
        return jnp.broadcast_to(sigmoid(params.logit.astype(b.dtype)), b.shape), b

    return Cell(
        init=init,
        initial_state=lambda params, batch_shape=(): zero_state(params.w_x, n, batch_shape),
        step=affine,
        encode=encode,
    )
