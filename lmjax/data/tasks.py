"""Synthetic tasks of long memory, each with the loss of the best guess that remembers nothing."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.factory import factory

__all__ = ["Task", "adding", "copy_memory", "temporal_order"]


class Task(NamedTuple):
    """A supervised task over sequences; fresh data for every key."""

    sample: Callable  # key, B -> (xs [T, B, n_in], ys)
    loss: Callable  # outputs [T, B, n_out], ys -> []  mean over the batch (and T if ys has it)
    n_in: int
    n_out: int
    baseline: float  # expected loss of the best guess without memory


@factory
def adding(length: int) -> Task:
    """Return the adding problem: the sum of the two marked numbers among `length`.

    x_t = (u_t, m_t) with u_t uniform on [0, 1) and m_t = 1 at one step of each half of the
    sequence, else 0; the target, asked at the last step, is the sum of the two u_t with m_t = 1.
    Squared error; predicting 1 always gives the variance of the sum of two uniform numbers, 2/12 =
    1/6.

    Args:
        length: T, at least 2.

    Returns:
        A `Task` with ys `[B]`.

    Raises:
        ValueError: the sequence is too short for two marks.

    >>> xs, ys = adding(10).sample(jax.random.key(0), 3)
    >>> xs.shape, bool(jnp.allclose((xs[..., 0] * xs[..., 1]).sum(0), ys))
    ((10, 3, 2), True)

    References: Hochreiter and Schmidhuber (1997), experiment 4; Le, Jaitly and Hinton (2015).
    """
    if length < 2:
        raise ValueError(f"adding: length must be at least 2, got {length}")

    @partial(jax.jit, static_argnums=1)
    def sample(key, batch_size):
        k_u, k_first, k_second = jax.random.split(key, 3)
        u = jax.random.uniform(k_u, (length, batch_size))
        first = jax.random.randint(k_first, (batch_size,), 0, length // 2)
        second = jax.random.randint(k_second, (batch_size,), length // 2, length)
        marks = jnp.arange(length)[:, None]
        m = ((marks == first) | (marks == second)).astype(u.dtype)
        return jnp.stack([u, m], axis=-1), (u * m).sum(0)

    def loss(outputs, ys):
        import chex

        chex.assert_equal_shape([outputs[-1, :, 0], ys])
        return jnp.mean((outputs[-1, :, 0] - ys) ** 2)

    return Task(sample, loss, n_in=2, n_out=1, baseline=1 / 6)


@factory
def copy_memory(delay: int, symbols: int = 10, alphabet: int = 8) -> Task:
    """Return the copy task: say M symbols again after a delay.

    The input is M symbols drawn from 1..A, delay - 1 blanks (0), a signal (A + 1), M blanks; the
    target is `delay + M` blanks and then the M symbols. Cross-entropy, mean over all delay + 2 M
    steps; knowing when, but not what, gives M ln A / (delay + 2 M).

    Args:
        delay: steps between the end of the symbols and the start of their repetition, at least 1.
        symbols: M.
        alphabet: A.

    Returns:
        A `Task` with one-hot xs (A + 2 kinds) and ys `[delay + 2 M, B]` in 0..A.

    Raises:
        ValueError: an argument is not positive.

    >>> xs, ys = copy_memory(5, symbols=2).sample(jax.random.key(0), 1)
    >>> xs.argmax(-1)[:, 0].tolist(), ys[:, 0].tolist()
    ([6, 1, 0, 0, 0, 0, 9, 0, 0], [0, 0, 0, 0, 0, 0, 0, 6, 1])

    References: Hochreiter and Schmidhuber (1997); Arjovsky, Shah and Bengio (2016).
    """
    if min(delay, symbols, alphabet) < 1:
        raise ValueError(
            f"copy_memory: arguments must be at least 1, got {delay=}, {symbols=}, {alphabet=}"
        )

    @partial(jax.jit, static_argnums=1)
    def sample(key, batch_size):
        said = jax.random.randint(key, (symbols, batch_size), 1, alphabet + 1, jnp.int32)
        blank = lambda n: jnp.zeros((n, batch_size), said.dtype)
        signal = jnp.full((1, batch_size), alphabet + 1, said.dtype)
        tokens = jnp.concatenate([said, blank(delay - 1), signal, blank(symbols)])
        return jax.nn.one_hot(tokens, alphabet + 2), jnp.concatenate([blank(delay + symbols), said])

    baseline = symbols * float(np.log(alphabet)) / (delay + 2 * symbols)
    return Task(sample, _cross_entropy, n_in=alphabet + 2, n_out=alphabet + 1, baseline=baseline)


@factory
def temporal_order(length: int) -> Task:
    """Return the temporal order problem: which of X and Y came first and second, 4 classes.

    Noise from {a, b, c, d}, with X or Y at one step of the second tenth and one step of the sixth
    tenth of the sequence; the class is asked at the last step. Cross-entropy; chance is 1/4, that
    is ln 4.

    Args:
        length: T, at least 10.

    Returns:
        A `Task` with one-hot xs (X, Y, a, b, c, d) and ys `[B]` in 0..3 for XX, XY, YX, YY.

    Raises:
        ValueError: the sequence is too short for the two places.

    >>> xs, ys = temporal_order(20).sample(jax.random.key(0), 2)
    >>> tokens = xs.argmax(-1)[:, 0]
    >>> tokens[tokens < 2].tolist(), int(ys[0])
    ([0, 0], 0)

    References: Hochreiter and Schmidhuber (1997), experiment 6a; Pascanu, Mikolov and Bengio
    (2013).
    """
    if length < 10:
        raise ValueError(f"temporal_order: length must be at least 10, got {length}")

    @partial(jax.jit, static_argnums=1)
    def sample(key, batch_size):
        k_noise, k_symbol, k_first, k_second = jax.random.split(key, 4)
        tokens = jax.random.randint(k_noise, (length, batch_size), 2, 6, jnp.int32)
        said = jax.random.randint(k_symbol, (2, batch_size), 0, 2, jnp.int32)
        places = [
            jax.random.randint(k, (batch_size,), tenth * length // 10, (tenth + 1) * length // 10)
            for k, tenth in ((k_first, 1), (k_second, 5))
        ]
        tokens = tokens.at[jnp.stack(places), jnp.arange(batch_size)].set(said)
        return jax.nn.one_hot(tokens, 6), 2 * said[0] + said[1]

    return Task(
        sample,
        lambda outputs, ys: _cross_entropy(outputs[-1], ys),
        n_in=6,
        n_out=4,
        baseline=float(np.log(4)),
    )


def _cross_entropy(outputs, ys):
    import chex
    import optax

    chex.assert_equal_shape([outputs[..., 0], ys])
    return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, ys).mean()
