"""Initialisers of the recurrent matrix, one n x n block at a time: `key, n -> [n, n]`."""

import jax
import jax.numpy as jnp

from lmjax.factory import factory

__all__ = ["identity", "orthogonal", "spectral"]


@factory
def orthogonal(scale: float = 1.0):
    """Return `scale` times a random orthogonal matrix: every singular value is `scale`.

    References: Saxe, McClelland and Ganguli (2014).
    """
    return lambda key, n: scale * jax.random.orthogonal(key, n)


@factory
def identity(scale: float = 1.0):
    """Return `scale` times the identity; with relu and zero bias this is the IRNN.

    References: Le, Jaitly and Hinton (2015).
    """
    return lambda key, n: scale * jnp.eye(n)


@factory
def spectral(radius: float):
    """Return a Gaussian matrix whose largest eigenvalue has modulus `radius`; not on TPU.

    >>> w = spectral(0.5)(jax.random.key(0), 8)
    >>> round(float(jnp.abs(jnp.linalg.eigvals(w)).max()), 4)
    0.5

    References: Jaeger (2001), for the radius as a design choice.
    """

    def init(key, n):
        w = jax.random.normal(key, (n, n))
        return w * (radius / jnp.abs(jnp.linalg.eigvals(w)).max())

    return init
