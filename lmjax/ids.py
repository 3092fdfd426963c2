"""Token ids outside the vocabulary: an error where they are given, NaN where they are computed."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["is_word", "nan_loss_outside", "nan_outside", "token_ids"]


def token_ids(name: str, ids, size: int | None = None) -> np.ndarray:
    """Return ids, a list or an array, as one sequence of whole numbers `[N]`, or refuse them.

    >>> token_ids("prompt", [3, 99], 12)
    Traceback (most recent call last):
        ...
    ValueError: prompt: token 99 is not in the vocabulary of 12

    Args:
        name: the argument that is named in errors.
        ids: the ids, a list or an array, in memory or on disk.
        size: V, of the vocabulary that they must be in; None for any.

    Raises:
        ValueError: the ids are not one sequence of whole numbers, or one is not in the vocabulary.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{name}: must be one sequence of token ids, got shape {ids.shape}")
    if len(ids) and ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: token ids must be whole numbers, got {ids.dtype}")
    if size is not None and len(ids) and (ids.min() < 0 or ids.max() >= size):
        wrong = ids[(ids < 0) | (ids >= size)][0]
        raise ValueError(f"{name}: token {wrong} is not in the vocabulary of {size}")
    return ids


def is_word(ids, size: int):
    """Return where ids are in [0, size): -1 is no word, and not the last one.

    >>> is_word(jnp.array([-1, 0, 2, 3]), 3).tolist()
    [False, True, True, False]
    """
    ids = jnp.asarray(ids)
    ids = ids.astype(jnp.promote_types(ids.dtype, jnp.int32))
    return (ids >= 0) & (ids < size)


def nan_outside(x, ids, size: int):
    """Return x where ids are in [0, size), and NaN elsewhere, whose derivative is NaN too.

    >>> nan_outside(jnp.ones(3), jnp.array([-1, 0, 5]), 5).tolist()
    [nan, 1.0, nan]
    """
    return x * jnp.where(is_word(ids, size), 1, jnp.nan).astype(x.dtype)


def nan_loss_outside(x, ids, size: int):
    """Return the same for a loss: where it is masked, padding may have any id, such as -100.

    The derivative is NaN where the loss is, but 0 where nothing depends on the loss. It is
    differentiated as `unroll` is: reverse mode, and any mode over that.

    >>> masked = lambda x: jnp.where(jnp.arange(3) < 2, nan_loss_outside(x, ids, 5), 0).sum()
    >>> ids = jnp.array([1, -100, -100])
    >>> jax.grad(masked)(jnp.ones(3)).tolist()
    [1.0, nan, 0.0]
    """
    return _nan_unless(is_word(ids, size), x)


def _choose(word, x):
    return jnp.where(word, x, jnp.nan)


_nan_unless = jax.custom_vjp(_choose)
_nan_unless.defvjp(
    lambda word, x: (_choose(word, x), word),
    lambda word, g: (None, _choose(word | (g == 0), g)),
)
