"""Exact products on every backend."""

from functools import wraps

import jax


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
