"""Precision of matrix products: of the operands, and of the sums."""

from functools import wraps

import jax
import jax.numpy as jnp

__all__ = ["full_precision", "matmul"]


def matmul(x, w):
    """Multiply in the precision of the weights w, and add up in float32 at least.

    >>> matmul(jnp.ones((2, 3)), jnp.ones((3, 4), jnp.bfloat16)).dtype.name
    'float32'
    """
    wide = jnp.promote_types(w.dtype, jnp.float32)
    return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=wide)


def full_precision(f):
    """Make every matrix product in `f` in the precision of its operands.

    A backend may take float32 in less by default: a GPU in TF32 (11 bits), a TPU in bfloat16 (8).

    >>> square = full_precision(lambda a: a @ a)
    >>> "HIGHEST" in str(jax.make_jaxpr(square)(jax.numpy.eye(2)))
    True
    """

    @wraps(f)
    def full(*args, **kwargs):
        with jax.default_matmul_precision("highest"):
            return f(*args, **kwargs)

    return full
