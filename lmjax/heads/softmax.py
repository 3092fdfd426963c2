"""The full softmax, with weights of its own or those of the embedding, at any size of the vocabulary."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.heads.head import Head

__all__ = ["Softmax", "softmax", "softmax_log_prob", "softmax_loss", "tied"]

LOGITS = {"cpu": 2**20, "default": 2**27}  # so many (4 MB of float32) stay in a cache; an accelerator has many units
POSITIONS = 256  # products of so many rows run at full speed


class Softmax(NamedTuple):
    """Parameters of a full softmax."""

    w: jax.Array  # [V, n]
    b: jax.Array  # [V]


@cache
def softmax(n: int, vocab_size: int) -> Head:
    """Return the full softmax: log P(w | y) = u_w . y + b_w - log sum_v exp(u_v . y + b_v).

    `log_prob` is `softmax_log_prob`, `loss` is `softmax_loss`: neither has all logits in memory at once.

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

    def loss(params, y, token, key):
        return softmax_loss(*weights(params), y, token)

    return Head(init, log_probs, log_prob, loss)


def softmax_log_prob(w, b, y, token):
    """Return log softmax(W y + b) at one word a position, exactly.

        log P(w | y) = u_w . y + b_w - log sum_v exp(u_v . y + b_v)

    A block of positions at a time: as many as have `LOGITS` logits or features, 2^20 on a CPU and 2^27 elsewhere, but
    `POSITIONS` = 256 at least. Where there are more, a backward pass makes each block's logits again.

    Args:
        w: `[V, n]`.
        b: `[V]`.
        y: `[..., n]`.
        token: int `[...]`.

    Returns:
        `[...]`.

    >>> softmax_log_prob(jnp.eye(3), jnp.zeros(3), jnp.zeros((2, 3)), jnp.array([0, 2])).round(3).tolist()
    [-1.099, -1.099]
    """
    w, b, y = _promoted(w, b, y)
    flat, ids = y.reshape(-1, y.shape[-1]), token.reshape(-1)

    def at(w, b, y, token):
        return _score(w, b, y, token) - _logsumexp(w, b, y)

    def in_blocks(size, w, b, y, token):
        if size == len(y):
            return at(w, b, y, token)
        return lax.map(jax.checkpoint(lambda rows: at(w, b, *rows)), (y, token), batch_size=size)

    return _sized(in_blocks, w, b, flat, ids).reshape(token.shape)


def softmax_loss(w, b, y, token):
    """Return `-softmax_log_prob(w, b, y, token)`, for training.

    Its gradient is made on the way forward, each block's while its logits are in a cache,

        d/dy = sum_v p_v u_v - u_w,    d/du_v = (p_v - [v = w]) y,    d/db_v = p_v - [v = w],

    as that of the sum over positions: three products in all, and no logits kept. On the way back it is scaled
    by dL/dloss if that is the same at every position, as a mean makes it. If it is not, as where some positions
    are masked, `softmax_log_prob` is differentiated in its place: exact too, in six products.

    >>> softmax_loss(jnp.eye(3), jnp.zeros(3), jnp.zeros((2, 3)), jnp.array([0, 2])).round(3).tolist()
    [1.099, 1.099]
    """
    w, b, y = _promoted(w, b, y)
    return _loss(w, b, y.reshape(-1, y.shape[-1]), token.reshape(-1)).reshape(token.shape)


def _promoted(*arrays):
    return (x.astype(jnp.result_type(*arrays)) for x in arrays)


def _sized(in_blocks, w, b, y, token):
    """Call `in_blocks` with the number of positions in a block, which the platform decides."""
    size = {p: min(len(y), max(POSITIONS, logits // max(w.shape))) for p, logits in LOGITS.items()}
    if len({*size.values()}) == 1:
        return in_blocks(size["cpu"], w, b, y, token)
    return lax.platform_dependent(w, b, y, token, **{p: partial(in_blocks, n) for p, n in size.items()})


def _score(w, b, y, token):
    return jnp.sum(y * w[token], -1) + b[token]


@jax.custom_jvp
def _logsumexp(w, b, y):
    """Return log sum_v exp(u_v . y + b_v), with a derivative that never scales the exponentials."""
    return _sum_exp(w, b, y)[0]


@_logsumexp.defjvp
def _logsumexp_jvp(primals, tangents):
    (w, b, y), (dw, db, dy) = primals, tangents
    value, e, s = _sum_exp(w, b, y)
    return value, (jnp.sum(y * (e @ dw), -1) + e @ db + jnp.sum(dy * (e @ w), -1)) / s


def _sum_exp(w, b, y):
    """Return log s + m, e = exp(z - m) and its sum s, of z = W y + b.

    m is the maximum of z. On a CPU it is max(W y) + max b, above that by no more than the biases differ, where they
    differ too little for e to vanish: the biases are then added where e is made, in one pass over the logits less.
    """
    z, high = y @ w.T, b.max()

    def near(z):
        m = z.max(-1, keepdims=True) + high
        return m, jnp.exp(z + (b - m))

    def far(z):
        z += b
        m = z.max(-1, keepdims=True)
        return m, jnp.exp(z - m)

    narrow = high - b.min() < -jnp.log(jnp.finfo(b.dtype).tiny) / 2
    m, e = lax.platform_dependent(z, cpu=lambda z: lax.cond(narrow, near, far, z), default=far)
    s = jnp.dot(e, jnp.ones_like(b), precision="highest")  # XLA's CPU backend makes exp within a sum slow
    return m[..., 0] + jnp.log(s), e, s


@jax.custom_vjp
def _loss(w, b, y, token):
    return -softmax_log_prob(w, b, y, token)


def _loss_forward(w, b, y, token):
    losses, *gradients = _sized(_losses, w, b, y, token)
    return losses, (w, b, y, token, *gradients)


def _losses(size, w, b, y, token):
    """Return the losses and the gradients of their sum, `(losses, dw, db, dy)`."""

    def block(start, size):
        y_k, token_k = (lax.dynamic_slice_in_dim(x, start, size) for x in (y, token))
        value, e, s = _sum_exp(w, b, y_k)
        rows = (e @ w) / s[:, None] - w[token_k], value - _score(w, b, y_k, token_k)
        return (e.T @ (y_k / s[:, None]), (1 / s) @ e), rows

    def more(k, carry):
        start = first + k * size
        of_block = block(start, size)
        return jax.tree.map(jnp.add, carry[0], of_block[0]), put(carry[1], of_block[1], start)

    def put(all_rows, rows, start):
        return jax.tree.map(lambda a, x: lax.dynamic_update_slice_in_dim(a, x, start, 0), all_rows, rows)

    first = len(y) % max(size, 1) or size
    sums, rows = block(0, first)  # not zeros: they would take as much memory as the gradient
    rows = put((jnp.zeros_like(y), jnp.zeros(len(y), y.dtype)), rows, 0)
    (dw, db), (dy, losses) = lax.fori_loop(0, (len(y) - first) // max(size, 1), more, (sums, rows))
    return losses, dw, db, dy


def _loss_backward(kept, g):
    w, b, y, token, dw, db, dy = kept

    def alike(g):
        c = g[:1].sum()
        return dw.at[token].add(-y) * c, db.at[token].add(-1) * c, dy * c

    def each(g):
        return jax.vjp(lambda *args: -softmax_log_prob(*args, token), w, b, y)[1](g)

    return *lax.cond((g == g[:1]).all(), alike, each, g), None


_loss.defvjp(_loss_forward, _loss_backward)
