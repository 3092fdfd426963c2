"""The full softmax, with weights of its own or those of the embedding."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmjax.heads.head import Head

__all__ = ["Softmax", "softmax", "tied"]


class Softmax(NamedTuple):
    """Parameters of a full softmax."""

    w: jax.Array  # [V, n]
    b: jax.Array  # [V]


@cache
def softmax(n: int, vocab_size: int) -> Head:
    """Return the full softmax: log P(w | y) = u_w . y + b_w - log sum_v exp(u_v . y + b_v).

    Args:
        n: size of the features y.
        vocab_size: V.

    >>> from types import SimpleNamespace
    >>> head = softmax(3, 5)
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> float(jnp.exp(head.log_probs(params, jnp.ones(3))).sum().round(5))
    1.0
    """

    def init(key) -> Softmax:
        return Softmax(jax.random.uniform(key, (vocab_size, n), minval=-1, maxval=1) * n**-0.5, jnp.zeros(vocab_size))

    return _full(init, lambda params: params.head)


@cache
def tied(vocab_size: int) -> Head:
    """Return the full softmax whose rows u_w are the embedding's rows e_w; a bias of its own is added.

    The features must have the size of the embedding.

    References: Press and Wolf (2017); Inan, Khosravi and Socher (2017).
    """
    return _full(lambda key: jnp.zeros(vocab_size), lambda params: Softmax(params.embed, params.head))


def _full(init, weights) -> Head:
    def logits(params, y):
        w, b = weights(params)
        return y @ w.T + b

    def log_prob(params, y, token):
        z = logits(params, y)
        return jnp.take_along_axis(z, token[..., None], -1)[..., 0] - jax.nn.logsumexp(z, -1)

    return Head(
        init=init,
        log_probs=lambda params, y: jax.nn.log_softmax(logits(params, y)),
        log_prob=log_prob,
        loss=lambda params, y, token, key: -log_prob(params, y, token),
    )
