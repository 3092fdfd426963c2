"""What keeps a small model from learning its text by heart: noise and penalties, in training."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.tree import is_floating

__all__ = ["Dropout", "Penalties", "drop_recurrent", "drop_words", "locked", "penalised"]


class Dropout(NamedTuple):
    """Rates p of dropout in training; 0 is none.

        x_t = i * a(w_t) * E w_t                      input (mask i), embedding (mask a)
        s^k_t = step(s^k_{t-1}, b^k * y^{k-1}_t)      between the layers k - 1 and k of a stack
        h W_h becomes h (r * W_h)                     recurrent
        P(w_{t+1}) = head(o * y_t)                    output

    An entry of a mask is 0 with probability p, else 1 / (1 - p), which keeps the mean. It is drawn
    once for all steps of a batch: i, b and o for each sequence and feature (locked dropout), r for
    each weight (weight drop), a for each word of the vocabulary (embedding dropout). A word that is
    dropped is so wherever it stands in the batch; a head that shares the embedding reads it whole.

    References: Gal and Ghahramani (2016); Merity, Keskar and Socher (2018).
    """

    input: float = 0.0
    output: float = 0.0
    recurrent: float = 0.0
    embedding: float = 0.0
    between: float = 0.0


class Penalties(NamedTuple):
    """Weights of penalties in training, for features y_t of size n; 0 is none.

        loss_t + alpha |o * y_t|^2 / n + beta |y_t - y_{t-1}|^2 / n

    Activation regularisation (alpha) keeps features small, temporal activation regularisation
    (beta) slow; o is the mask of the output's dropout. The first step of a batch has no y_{t-1}.
    The penalties act through the gradient alone: the value of a loss is the likelihood's part.

    References: Merity, McCann and Socher (2017); Merity, Keskar and Socher (2018).
    """

    activation: float = 0.0  # alpha
    temporal: float = 0.0  # beta


def locked(key, rate: float, xs):
    """Drop features of a sequence `[T, ...]`, the same at all T.

    >>> xs = locked(jax.random.key(0), 0.5, jnp.ones((4, 100)))
    >>> bool((xs[0] == xs[3]).all()), sorted({*xs[0].tolist()})
    (True, [0.0, 2.0])
    """
    drop = lambda x: _drop(key, rate, x, (1, *x.shape[1:])) if is_floating(x) else x
    return jax.tree.map(drop, xs)


def drop_words(key, rate: float, xs, tokens):
    """Drop words: the vectors `[..., n]` of tokens `[...]`, by a draw that is each word's own.

    It depends on the key and the word's id alone, and costs the same for any vocabulary.

    >>> tokens = jnp.arange(100) % 50
    >>> xs = drop_words(jax.random.key(0), 0.5, jnp.ones((100, 2)), tokens)
    >>> bool((xs[:50] == xs[50:]).all()), sorted({*xs[:, 0].tolist()})
    (True, [0.0, 2.0])
    """
    if not rate:
        return xs
    draw = lambda word: jax.random.bernoulli(jax.random.fold_in(key, word), 1 - rate)
    kept = jax.vmap(draw)(tokens.ravel())
    drop = lambda x: _scaled(rate, x, kept.reshape(*tokens.shape, 1)) if is_floating(x) else x
    return jax.tree.map(drop, xs)


def drop_recurrent(key, rate: float, params):
    """Drop single weights of every leaf that is named `w_h`.

    >>> dropped = drop_recurrent(jax.random.key(0), 0.5, {"w_h": jnp.ones(99), "b": jnp.ones(99)})
    >>> {name: sorted({*x.tolist()}) for name, x in dropped.items()}
    {'b': [1.0], 'w_h': [0.0, 2.0]}
    """
    flat, tree = jax.tree_util.tree_flatten_with_path(params)
    keys = jax.random.split(key, len(flat) or 1)
    name = lambda path: jax.tree_util.keystr(path[-1:], simple=True)
    leaves = [
        _drop(k, rate, x, x.shape) if name(path) == "w_h" else x
        for k, (path, x) in zip(keys, flat, strict=False)
    ]
    return jax.tree.unflatten(tree, leaves)


def penalised(penalties: Penalties, losses, y, dropped):
    """Return the losses `[T, ...]`, whose gradient is that of the losses and the penalties.

    Args:
        penalties: alpha and beta.
        losses: `[T, ...]`.
        y: `[T, ..., n]`.
        dropped: o * y.

    >>> f = lambda y: penalised(Penalties(activation=3.0), y.sum(-1), y, y).sum()
    >>> value, gradient = jax.value_and_grad(f)(jnp.array([[1.0], [2.0]]))
    >>> float(value), gradient.ravel().tolist()
    (3.0, [7.0, 13.0])
    """
    if not any(penalties):
        return losses
    y, dropped = map(_features, (y, dropped))
    change = jnp.diff(y, axis=0, prepend=y[:1])
    size = lambda x: jnp.square(x).mean(-1)
    penalty = penalties.activation * size(dropped) + penalties.temporal * size(change)
    return losses + (penalty - lax.stop_gradient(penalty))


def _features(y):
    """Return the features that a cell reads out, whatever else is beside them."""
    return jnp.concatenate([x for x in jax.tree.leaves(y) if is_floating(x)], -1)


def _drop(key, rate, x, shape):
    """Zero with probability `rate` and scale the rest to keep the mean; one draw of `shape`."""
    return _scaled(rate, x, jax.random.bernoulli(key, 1 - rate, shape)) if rate else x


def _scaled(rate, x, kept):
    return x * (kept / (1 - rate)).astype(x.dtype)
