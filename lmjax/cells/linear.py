"""The linear maps of the lecture's cells, z = x W_x + h W_h + b."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Linear", "check_sizes", "init_linear", "uniform", "zero_state"]


class Linear(NamedTuple):
    """Parameters of z = x W_x + h W_h + b; blocks of n, one a gate, lie side by side."""

    w_x: jax.Array  # [n_in, k n]
    w_h: jax.Array  # [n, k n]
    b: jax.Array  # [k n]


def init_linear(key, n_in: int, n: int, *, blocks: int, w_h, biases=None) -> Linear:
    """Draw the parameters: W_x uniform with variance 1 / n_in, W_h block by block, b constant.

    Args:
        key: random key.
        n_in: size of the input.
        n: size of the hidden vector.
        blocks: k.
        w_h: initialiser of a block of W_h, see `lmjax.cells.initial`.
        biases: of each block, zero if not given; there may be more of them than blocks.
    """
    key_x, key_h = jax.random.split(key)
    recurrent = [w_h(key, n) for key in jax.random.split(key_h, blocks)]
    w_x = uniform(key_x, n_in, blocks * n)
    biases = jnp.asarray(biases or [0.0] * blocks, w_x.dtype)
    return Linear(w_x, jnp.concatenate(recurrent, axis=1), jnp.repeat(biases, n))


def uniform(key, n_in: int, n: int):
    """Draw a matrix [n_in, n] whose entries are uniform with mean 0 and variance 1 / n_in."""
    return jax.random.uniform(key, (n_in, n), minval=-1, maxval=1) * (3 / n_in) ** 0.5


def zero_state(w, n: int, batch_shape):
    """Return h_0 = 0 in the precision of the weights w, and float32 at least."""
    return jnp.zeros((*batch_shape, n), jnp.promote_types(w.dtype, jnp.float32))


def check_sizes(n_in: int, n: int) -> None:
    """Raise a ValueError where a size of a cell is not positive."""
    if n_in < 1 or n < 1:
        raise ValueError(f"cell: sizes must be at least 1, got n_in={n_in}, n={n}")
