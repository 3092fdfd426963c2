"""The class-factored softmax: first a class of words, then a word of that class."""

from math import isqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import log_softmax

from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.heads.head import Head, check_targets
from lmjax.ids import nan_loss_outside, nan_outside

__all__ = ["ClassFactored", "class_factored"]

POSITIONS = 128  # whose words are scored at a time: each reads the k rows of its class


class ClassFactored(NamedTuple):
    """Parameters of a class-factored softmax with C classes of k words each."""

    classes: jax.Array  # [C, n]
    words: jax.Array  # [C k, n]
    b: jax.Array  # [C k]  of the words; those from V on are no words


@factory
def class_factored(n: int, vocab_size: int, *, classes: int | None = None) -> Head:
    """Return the softmax that is factored by classes, an exact distribution.

        log P(w | y) = log softmax(U y)_{c(w)} + log softmax(W_{c(w)} y + b_{c(w)})_w,
        c(w) = floor(w / k),    k = ceil(V / C)

    Scoring one word costs C + k products of n in place of V. Words are numbered by frequency
    (`data.Vocabulary`), so that a class holds words that are about as frequent.

    Args:
        n: size of the features y.
        vocab_size: V.
        classes: C, default the square root of V, which costs least.

    >>> from types import SimpleNamespace
    >>> head = class_factored(3, 10)
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> params.head.classes.shape, params.head.words.shape
    ((3, 3), (12, 3))
    >>> float(jnp.exp(head.log_probs(params, jnp.ones(3))).sum().round(5))
    1.0

    Raises:
        ValueError: `classes` is not from 1 to V.

    References: Goodman (2001); Mikolov, Kombrink, Burget, Cernocky and Khudanpur (2011).
    """
    count = isqrt(vocab_size) if classes is None else classes
    check_positive(classes=count)
    if count > vocab_size:
        raise ValueError(f"classes: at most vocab_size = {vocab_size}, got {count}")
    size = -(-vocab_size // count)
    count = -(-vocab_size // size)  # those that hold a word
    is_word = (jnp.arange(count * size) < vocab_size).reshape(count, size)

    def init(key) -> ClassFactored:
        k_classes, k_words = jax.random.split(key)
        draw = lambda key, rows: jax.random.uniform(key, (rows, n), minval=-1, maxval=1) * n**-0.5
        words = draw(k_words, count * size)
        return ClassFactored(draw(k_classes, count), words, jnp.zeros(count * size))

    def blocks(params):
        """Return the words' rows and biases by class; what is no word is never chosen."""
        b = jnp.where(is_word, params.b.reshape(count, size), -jnp.inf)
        return params.words.reshape(count, size, n), b

    def log_probs(params, y):
        words, b = blocks(params.head)
        within = log_softmax(jnp.einsum("...n,ckn->...ck", y, words) + b)
        joint = log_softmax(y @ params.head.classes.T)[..., None] + within
        return joint.reshape(*y.shape[:-1], -1)[..., :vocab_size]

    def score(params, y, token):
        check_targets(y, token)
        words, b = blocks(params.head)
        of_class = log_softmax(y @ params.head.classes.T)
        word = jnp.clip(token, 0, vocab_size - 1)

        @jax.checkpoint
        def at(position):
            y, word, of_class = position
            c, w = word // size, word % size
            return of_class[c] + log_softmax(words[c] @ y + b[c])[w]

        flat = y.reshape(-1, n), word.reshape(-1), of_class.reshape(-1, count)
        return lax.map(at, flat, batch_size=POSITIONS).reshape(token.shape)

    def log_prob(params, y, token):
        return nan_outside(score(params, y, token), token, vocab_size)

    def loss(params, y, token, key):
        return nan_loss_outside(-score(params, y, token), token, vocab_size)

    return Head(init, log_probs, log_prob, loss)
