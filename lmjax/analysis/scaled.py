"""Numbers with an integer exponent of their own: norms that neither underflow nor overflow."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Scaled", "add", "log_norm", "rescale"]

NOTHING = -(2**30)  # exponent of an exact zero: below that of every other number


class Scaled(NamedTuple):
    """Numbers `mantissa 2^exponent`.

    >>> import jax.numpy as jnp
    >>> tiny = Scaled(jnp.float32(0.5), jnp.int32(-9999))           # 2^-10000, zero in every float
    >>> round(float(tiny.log), 4)
    -6931.4718
    """

    mantissa: jax.Array  # [...]
    exponent: jax.Array  # [...]  int32

    @property
    def log(self):
        """Natural logarithms `[...]`; -inf for an exact zero.

        Float64 in NumPy, for float32 numbers near -4000 are 2.4e-4 apart; under jit, where NumPy
        cannot be, the widest float that JAX has enabled.
        """
        if isinstance(self.mantissa, jax.core.Tracer):
            wide = jnp.result_type(float)
            return jnp.log(self.mantissa.astype(wide)) + math.log(2) * self.exponent.astype(wide)
        with np.errstate(divide="ignore"):
            return np.log(np.float64(self.mantissa)) + math.log(2) * np.float64(self.exponent)


def rescale(x, exponent, batch: int = 0):
    """Return the same numbers x 2^exponent, the largest |mantissa| of each batch entry in [1/2, 1).

    Multiplying by a power of two rounds nothing. An infinity or NaN is left as it is.

    Args:
        x: pytree of float arrays, every leaf `[*batch axes, ...]`.
        exponent: int32 `[*batch axes]`.
        batch: number of leading axes that have an exponent of their own.
    """
    largest = _largest(x, batch)
    _, shift = jnp.frexp(largest)
    normal = jnp.finfo(largest.dtype).maxexp - 3  # 2^-shift must be neither subnormal nor infinite
    shift = jnp.clip(shift, -normal, normal)
    return _times_power(x, -shift), jnp.where(largest == 0, NOTHING, exponent + shift)


def add(x, y):
    """Return the sum of two scaled trees `(mantissas, exponent)` of equal batch axes."""
    exponent = jnp.maximum(x[1], y[1])
    x, y = (_times_power(v, jnp.maximum(e - exponent, -1000)) for v, e in (x, y))
    return jax.tree.map(jnp.add, x, y), exponent


def log_norm(x, exponent=0, batch: int = 0):
    """Return the natural log of the 2-norm of each batch entry of the tree x 2^exponent."""
    x, exponent = rescale(x, jnp.asarray(exponent, jnp.int32), batch)
    return log_norm_of_rescaled(x, exponent, batch)


def log_norm_of_rescaled(x, exponent, batch: int = 0):
    """Return the same of what `rescale` returned."""
    squares = [jnp.sum(leaf**2, axis=tuple(range(batch, leaf.ndim))) for leaf in jax.tree.leaves(x)]
    square = jax.tree.reduce(jnp.add, squares)
    nothing = square == 0  # kept out of the logarithm: its derivative there is infinite
    log = jnp.where(nothing, -jnp.inf, jnp.log(jnp.where(nothing, 1, square)))
    return log / 2 + exponent * jnp.log(jnp.asarray(2, square.dtype))


def _largest(x, batch):
    """The largest magnitude of each batch entry over all leaves."""
    leaves = [
        jnp.max(jnp.abs(leaf), axis=tuple(range(batch, leaf.ndim)), initial=0)
        for leaf in jax.tree.leaves(x)
    ]
    return jax.tree.reduce(jnp.maximum, leaves)


def _times_power(x, power):
    """Multiply each batch entry by 2^power."""

    def times(leaf):
        factor = jnp.ldexp(jnp.ones((), leaf.dtype), power)
        return leaf * factor.reshape(factor.shape + (1,) * (leaf.ndim - factor.ndim))

    return jax.tree.map(times, x)
