"""The full softmax, with weights of its own or those of the embedding, at any size of the vocabulary."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.heads.head import Head

__all__ = ["Softmax", "softmax", "softmax_log_prob", "tied"]

LOGITS = 2**26  # a batch with more logits than this (256 MB of float32) never has them all in memory
BLOCK = 1024  # words at a time then


class Softmax(NamedTuple):
    """Parameters of a full softmax."""

    w: jax.Array  # [V, n]
    b: jax.Array  # [V]


@cache
def softmax(n: int, vocab_size: int) -> Head:
    """Return the full softmax: log P(w | y) = u_w . y + b_w - log sum_v exp(u_v . y + b_v).

    `log_prob` and `loss` of a batch with very many logits go through the vocabulary in blocks, see
    `softmax_log_prob`.

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
    def log_probs(params, y):
        w, b = weights(params)
        return jax.nn.log_softmax(y @ w.T + b)

    def log_prob(params, y, token):
        return softmax_log_prob(*weights(params), y, token)

    return Head(init, log_probs, log_prob, loss=lambda params, y, token, key: -log_prob(params, y, token))


def softmax_log_prob(w, b, y, token):
    """Return log softmax(W y + b) at one word a position, exactly.

        log P(w | y) = u_w . y + b_w - log sum_v exp(u_v . y + b_v)

    Up to `LOGITS` = 2^26 logits (256 MB of float32) they are held in memory, once, for the backward pass.
    More are made, summed and dropped in blocks of `BLOCK` words, and made again in the backward pass: the
    memory no longer grows with V, for up to a fifth more time. The blocked form has no forward-mode derivative.

    Args:
        w: `[V, n]`.
        b: `[V]`.
        y: `[..., n]`.
        token: int `[...]`.

    Returns:
        `[...]`.

    >>> softmax_log_prob(jnp.eye(3), jnp.zeros(3), jnp.zeros((2, 3)), jnp.array([0, 2])).round(3).tolist()
    [-1.099, -1.099]

    References: Milakov and Gimelshein (2018) for the sum in blocks.
    """
    w, b, y = (x.astype(jnp.result_type(w, b, y)) for x in (w, b, y))
    flat, ids = y.reshape(-1, y.shape[-1]), token.reshape(-1)
    whole = len(flat) * len(w) <= LOGITS
    logp = _score(w, b, flat, ids) - _logsumexp(w, b, flat) if whole else _blocked(w, b, flat, ids)
    return logp.reshape(token.shape)


def _score(w, b, y, token):
    return jnp.sum(y * w[token], -1) + b[token]


@jax.custom_jvp
def _logsumexp(w, b, y):
    """Return log sum_v exp(u_v . y + b_v), with a derivative that never scales the `[N, V]` exponentials."""
    return _sum_exp(w, b, y)[0]


@_logsumexp.defjvp
def _logsumexp_jvp(primals, tangents):
    (w, b, y), (dw, db, dy) = primals, tangents
    value, e, s = _sum_exp(w, b, y)
    return value, (jnp.sum(y * (e @ dw), -1) + e @ db + jnp.sum(dy * (e @ w), -1)) / s


def _sum_exp(w, b, y):
    z = y @ w.T + b
    m = z.max(-1, keepdims=True)
    e = jnp.exp(z - m)
    s = e.sum(-1)
    return m[:, 0] + jnp.log(s), e, s


@jax.custom_vjp
def _blocked(w, b, y, token):
    return _blocked_forward(w, b, y, token)[0]


def _blocked_forward(w, b, y, token):
    def more(total, start, size):
        w_k, b_k = _rows(w, start, size), _rows(b, start, size)
        return jnp.logaddexp(total, jax.nn.logsumexp(w_k @ y.T + b_k[:, None], 0))

    total = _over_blocks(len(w), more, jnp.full(len(y), -jnp.inf, y.dtype))
    return _score(w, b, y, token) - total, (w, b, y, token, total)


def _blocked_backward(kept, g):
    w, b, y, token, total = kept
    gy = g[:, None] * y

    def more(gradients, start, size):
        dw, db, dy = gradients
        w_k, b_k = _rows(w, start, size), _rows(b, start, size)
        p = jnp.exp(w_k @ y.T + b_k[:, None] - total)  # [size, N]
        put = lambda x, x_k: lax.dynamic_update_slice_in_dim(x, -x_k, start, 0)
        return put(dw, p @ gy), put(db, p @ g), dy - w_k.T @ p

    dw, db, dy = _over_blocks(len(w), more, (jnp.zeros_like(w), jnp.zeros_like(b), jnp.zeros_like(y.T)))
    return dw.at[token].add(gy), db.at[token].add(g), g[:, None] * (w[token] + dy.T), None


_blocked.defvjp(_blocked_forward, _blocked_backward)


def _rows(x, start, size):
    return lax.dynamic_slice_in_dim(x, start, size)


def _over_blocks(length, body, carry):
    """Fold `body(carry, start, size)` over blocks of a range; the last may be shorter."""
    size = min(BLOCK, length)
    whole, rest = divmod(length, size)
    carry = lax.fori_loop(0, whole, lambda k, carry: body(carry, k * size, size), carry)
    return body(carry, whole * size, rest) if rest else carry
