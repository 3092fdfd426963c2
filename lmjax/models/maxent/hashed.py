"""All n-grams as features, with weights in a table of fixed size that they share by chance."""

from __future__ import annotations

import jax.numpy as jnp

from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.models.maxent.features import Features

__all__ = ["hashed"]

PRIMES = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D  # of xxHash


@factory
def hashed(vocab_size: int, order: int, bits: int) -> Features:
    """Return the n-grams of 2 to n words as features, their weights in a table of 2^bits numbers.

        m_w = sum_k theta[(H(x_{t-k+1}, ..., x_t) + w) mod 2^bits],    k = 1..n - 1

    It needs no counts, and a word that never followed a context gets a weight there too. N-grams
    that fall on one place of the table share their weight. Each word that is scored costs n - 1
    places, so that `observed`, which knows where the weights are, is the faster one to train.

    Args:
        vocab_size: V.
        order: n.
        bits: of the table's size, 31 at the most.

    >>> features = hashed(3, 2, 10)
    >>> theta = jnp.arange(2.0**10)
    >>> m = features.everywhere(theta, jnp.array([[0], [-1]]))
    >>> jnp.diff(m).tolist()
    [[1.0, 1.0], [0.0, 0.0]]

    Raises:
        ValueError: `order` is below 2, or `bits` not from 1 to 31.

    References: Mikolov, Deoras, Povey, Burget and Cernocky (2011), section 4.
    """
    if order < 2:
        raise ValueError(f"order: must be at least 2, got {order}")
    check_positive(vocab_size=vocab_size, bits=bits)
    if bits > 31:
        raise ValueError(f"bits: must be at most 31, got {bits}")

    def read(theta, history, words):
        """Return m of words `[..., K]`."""
        hashes, known = [], []
        h = jnp.zeros(history.shape[:-1], jnp.uint32)
        for k in range(1, order):
            h = _mixed(h, history[..., -k])
            hashes.append(h)
            known.append(history[..., -k] >= 0)
        h, known = jnp.stack(hashes, -1)[..., None], jnp.stack(known, -1)[..., None]
        places = (h + words[..., None, :].astype(jnp.uint32)) % jnp.uint32(2**bits)
        return jnp.where(known, theta[places.astype(jnp.int32)], 0).sum(-2)

    def at(theta, history, token, drawn):
        return read(theta, history, token[..., None])[..., 0], read(theta, history, drawn)

    return Features(
        vocab_size,
        order - 1,
        init=lambda key: jnp.zeros(2**bits),
        everywhere=lambda theta, history: read(theta, history, jnp.arange(vocab_size)),
        at=at,
    )


def _mixed(h, word):
    """Return the hash of a context by that of one without its farthest word."""
    a, b, c = (jnp.uint32(p) for p in PRIMES)
    h = (h + a + word.astype(jnp.uint32)) * b
    h = (h ^ (h >> 15)) * c
    return h ^ (h >> 13)
