"""Cells that are linear in the state: their gates see the input alone, so that time can be run in parallel."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell, affine
from lmjax.maps import _dot

__all__ = ["Diagonal", "MinGRU", "diagonal", "mingru"]


class MinGRU(NamedTuple):
    """Parameters of a minimal GRU."""

    w_x: jax.Array  # [n_in, 2 n]  blocks [z h~]
    b: jax.Array  # [2 n]


class Diagonal(NamedTuple):
    """Parameters of a diagonal linear network."""

    w_x: jax.Array  # [n_in, n]
    b: jax.Array  # [n]
    logit: jax.Array  # [n]  of the decay: a = sigmoid(logit)


@cache
def mingru(n_in: int, n: int) -> Cell:
    """Return the minimal gated recurrent unit: a GRU without h_{t-1} in its gates.

        z_t, h~_t = sigmoid(x_t W_z + b_z), x_t W + b
        h_t = (1 - z_t) h_{t-1} + z_t h~_t

    Args:
        n_in: size of x_t.
        n: size of h_t.

    >>> cell = mingru(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024).
    """

    def encode(params, xs):
        z, h = jnp.split(_dot(xs, params.w_x, params.w_x.dtype) + params.b, 2, -1)
        return sigmoid(-z), sigmoid(z) * h

    def gates(params, state, x):
        a, _ = x
        return {"z": 1 - a, "f": a}

    return _linear(n_in, n, lambda key: MinGRU(_weights(key, n_in, 2 * n), jnp.zeros(2 * n)), encode, gates)


@cache
def diagonal(n_in: int, n: int) -> Cell:
    """Return the diagonal linear network: each unit is a leaky integrator with a decay that it learns.

        h_t = a h_{t-1} + x_t W_x + b,    a = sigmoid(logit) in (0, 1)^n

    The Jacobian over k steps is diag(a)^k: what the lecture's proof says of a linear cell, unit by unit.
    The decays start with a^2 uniform in (0, 1), the moduli of a random matrix's eigenvalues.

    Args:
        n_in: size of x_t.
        n: size of h_t.

    >>> cell = diagonal(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Gupta, Mehta and Berant (2022); Orvieto et al. (2023) for the start values.
    """

    def init(key) -> Diagonal:
        k_x, k_a = jax.random.split(key)
        a = jax.random.uniform(k_a, (n,), minval=1e-3, maxval=1 - 1e-3) ** 0.5
        return Diagonal(_weights(k_x, n_in, n), jnp.zeros(n), jnp.log(a / (1 - a)))

    def encode(params, xs):
        b = _dot(xs, params.w_x, params.w_x.dtype) + params.b
        return jnp.broadcast_to(sigmoid(params.logit.astype(b.dtype)), b.shape), b

    return _linear(n_in, n, init, encode)


def _linear(n_in, n, init, encode, gates=None) -> Cell:
    if n_in < 1 or n < 1:
        raise ValueError(f"cell: sizes must be at least 1, got n_in={n_in}, n={n}")

    def start(params, batch_shape=()):
        return jnp.zeros((*batch_shape, n), jnp.promote_types(params.w_x.dtype, jnp.float32))

    return Cell(init=init, initial_state=start, step=affine, encode=encode, gates=gates)


def _weights(key, n_in, size):
    return jax.random.uniform(key, (n_in, size), minval=-1, maxval=1) * (3 / n_in) ** 0.5  # variance 1 / n_in
