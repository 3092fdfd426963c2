"""The full softmax, with weights of its own or those of the embedding, for any vocabulary size."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.heads.head import Head, check_targets
from lmjax.ids import is_word, nan_loss_outside, nan_outside
from lmjax.tree import add

__all__ = ["Softmax", "softmax", "softmax_log_prob", "softmax_loss", "tied"]

# Logits of one block of positions: on a CPU 4 MB of float32, which stay in a cache. An accelerator
# has many units to fill and takes more.
LOGITS = {"cpu": 2**20, "default": 2**27}
POSITIONS = 256  # least positions of a block: matrix products of so many rows run at full speed


class Softmax(NamedTuple):
    """Parameters of a full softmax."""

    w: jax.Array  # [V, n]
    b: jax.Array  # [V]


@factory
def softmax(n: int, vocab_size: int) -> Head:
    """Return the full softmax: log P(w | y) = u_w . y + b_w - log sum_v exp(u_v . y + b_v).

    `log_prob` is `softmax_log_prob`, `loss` is `softmax_loss`. Neither has all logits in memory at
    once.

    Args:
        n: size of the features y.
        vocab_size: V.

    >>> from types import SimpleNamespace
    >>> head = softmax(3, 5)
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> float(jnp.exp(head.log_probs(params, jnp.ones(3))).sum().round(5))
    1.0

    Raises:
        ValueError: a size is not positive.
    """
    check_positive(n=n, vocab_size=vocab_size)

    def init(key) -> Softmax:
        w = jax.random.uniform(key, (vocab_size, n), minval=-1, maxval=1) * n**-0.5
        return Softmax(w, jnp.zeros(vocab_size))

    return _full(init, lambda params: params.head)


@factory
def tied(vocab_size: int) -> Head:
    """Return the full softmax whose rows u_w are the embedding's rows e_w, with a bias of its own.

    The features must have the size of the embedding.

    Raises:
        ValueError: the size is not positive.

    References: Press and Wolf (2017); Inan, Khosravi and Socher (2017).
    """
    check_positive(vocab_size=vocab_size)
    head = _full(
        lambda key: jnp.zeros(vocab_size), lambda params: Softmax(params.embed, params.head)
    )
    return head._replace(shares_embedding=True)


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

    It is computed in blocks of positions. A block has as many as make `LOGITS` logits or features,
    2^20 on a CPU and 2^27 elsewhere, but at least `POSITIONS` = 256. With more than one block, the
    backward pass recomputes each block's logits.

    Args:
        w: `[V, n]`.
        b: `[V]`.
        y: `[..., n]`.
        token: int `[...]`.

    Returns:
        `[...]`, NaN where a token is not in the vocabulary.

    Raises:
        ValueError: the shapes of `y` and `token` do not agree.

    >>> y, token = jnp.zeros((2, 3)), jnp.array([0, 2])
    >>> softmax_log_prob(jnp.eye(3), jnp.zeros(3), y, token).round(3).tolist()
    [-1.099, -1.099]
    """
    check_targets(y, token)
    w, b, y = _promoted(w, b, y)
    logp = _log_prob(w, b, y.reshape(-1, y.shape[-1]), token.reshape(-1)).reshape(token.shape)
    return nan_outside(logp, token, len(b))


def softmax_loss(w, b, y, token):
    """Return `-softmax_log_prob(w, b, y, token)`, for training.

    The gradient of its sum over positions is computed in the forward pass, each block's while its
    logits are in a cache:

        d/dy = sum_v p_v u_v - u_w,    d/du_v = (p_v - [v = w]) y,    d/db_v = p_v - [v = w]

    These are three matrix products in all, and no logits are stored. The backward pass scales it by
    dL/dloss if that is the same at every word, as for a mean, and 0 where the token is no word: so
    padding is best given the token -1, and its loss masked. If it is not, as where positions with
    words are masked, `softmax_log_prob` is differentiated instead: exact too, in six products.

    >>> y, token = jnp.zeros((2, 3)), jnp.array([0, 2])
    >>> softmax_loss(jnp.eye(3), jnp.zeros(3), y, token).round(3).tolist()
    [1.099, 1.099]
    """
    check_targets(y, token)
    w, b, y = _promoted(w, b, y)
    word = is_word(token, len(b))
    positions = y.reshape(-1, y.shape[-1]), jnp.where(word, token, 0).ravel(), word.ravel()
    losses = _loss(w, b, *positions).reshape(token.shape)
    return nan_loss_outside(losses, token, len(b))


def _promoted(*arrays):
    return (x.astype(jnp.result_type(*arrays)) for x in arrays)


def _log_prob(w, b, y, token):
    def at(w, b, y, token):
        return _score(w, b, y, token) - _logsumexp(w, b, y)

    def in_blocks(size, w, b, y, token):
        if size == len(y):
            return at(w, b, y, token)
        recomputed = jax.checkpoint(lambda position: at(w, b, *position))
        return lax.map(recomputed, (y, token), batch_size=size)

    return _sized(in_blocks, w, b, y, token)


def _sized(in_blocks, w, b, y, *positions):
    """Call `in_blocks` with the number of positions in a block, which depends on the platform."""
    sizes = {}
    for platform, logits in LOGITS.items():
        sizes[platform] = min(len(y), max(POSITIONS, logits // max(w.shape)))
    if len({*sizes.values()}) == 1:
        return in_blocks(sizes["cpu"], w, b, y, *positions)
    by_platform = {platform: partial(in_blocks, size) for platform, size in sizes.items()}
    return lax.platform_dependent(w, b, y, *positions, **by_platform)


def _score(w, b, y, token):
    return jnp.sum(y * w[token], -1) + b[token]


@jax.custom_jvp
def _logsumexp(w, b, y):
    """Return log sum_v exp(u_v . y + b_v).

    Its derivative divides the sums by s, not the V exponentials at each position.
    """
    value, _, _ = _sum_exp(w, b, y)
    return value


@_logsumexp.defjvp
def _logsumexp_jvp(primals, tangents):
    (w, b, y), (dw, db, dy) = primals, tangents
    value, e, s = _sum_exp(w, b, y)
    by_w, by_b, by_y = jnp.sum(y * (e @ dw), -1), e @ db, jnp.sum(dy * (e @ w), -1)
    return value, (by_w + by_b + by_y) / s


def _sum_exp(w, b, y):
    """Return log s + m, e = exp(z - m) and its sum s, of z = W y + b, where m is at least max z.

    m is the maximum of z, but for a CPU with biases close together. There m = max(W y) + max b,
    which is above the maximum by no more than the biases differ, too little for e to vanish. The
    biases are then added where e is computed, which saves one pass over the logits.
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
    # A product, not a sum: XLA's CPU backend would fuse exp into the sum, which is slow.
    s = jnp.dot(e, jnp.ones_like(b), precision="highest")
    return m[..., 0] + jnp.log(s), e, s


@jax.custom_vjp
def _loss(w, b, y, token, word):
    return -_log_prob(w, b, y, token)


def _loss_forward(w, b, y, token, word):
    losses, *gradients = _sized(_losses, w, b, y, token, word)
    return losses, (w, b, y, token, word, *gradients)


def _losses(size, w, b, y, token, word):
    """Return the losses and the gradients of their sum over words, `(losses, dw, db, dy)`.

    The gradients of the weights lack the targets' rows, which `_loss_backward` subtracts.
    """

    def block(start, size):
        """Return a block's `(dw, db)`, which add up, and its positions' `(dy, losses)`."""
        y_k = lax.dynamic_slice_in_dim(y, start, size)
        token_k = lax.dynamic_slice_in_dim(token, start, size)
        word_k = lax.dynamic_slice_in_dim(word, start, size)
        value, e, s = _sum_exp(w, b, y_k)
        dy = (e @ w) / s[:, None] - w[token_k]
        losses = value - _score(w, b, y_k, token_k)
        share = word_k / s
        dw, db = e.T @ (y_k * share[:, None]), share @ e
        return (dw, db), (dy, losses)

    def put(all_positions, of_block, start):
        write = lambda a, x: lax.dynamic_update_slice_in_dim(a, x, start, 0)
        return jax.tree.map(write, all_positions, of_block)

    def body(k, carry):
        sums, positions = carry
        start = first + k * size
        of_block = block(start, size)
        return add(sums, of_block[0]), put(positions, of_block[1], start)

    # The first block may be smaller. Its sums begin the loop: zeros would take as much memory as
    # the gradient.
    first = len(y) % max(size, 1) or size
    sums, of_first = block(0, first)
    positions = put((jnp.zeros_like(y), jnp.zeros(len(y), y.dtype)), of_first, 0)
    blocks = (len(y) - first) // max(size, 1)
    (dw, db), (dy, losses) = lax.fori_loop(0, blocks, body, (sums, positions))
    return losses, dw, db, dy


def _loss_backward(residuals, g):
    w, b, y, token, word, dw, db, dy = residuals
    of_words = jnp.where(word, g, 0)
    c = of_words.max(initial=0) + of_words.min(initial=0)  # g at every word, if it is the same

    def alike(g):
        own = jnp.where(word, -1, 0)
        return dw.at[token].add(own[:, None] * y) * c, db.at[token].add(own) * c, g[:, None] * dy

    def each(g):
        return jax.vjp(lambda *args: -_log_prob(*args, token), w, b, y)[1](g)

    return *lax.cond((g == jnp.where(word, c, 0)).all(), alike, each, g), None, None


_loss.defvjp(_loss_forward, _loss_backward)
