"""The adaptive softmax: frequent words at once, rare ones in clusters read only where needed."""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.heads.cutoffs import default_cutoffs, width
from lmjax.heads.head import Embedding, Head, check_targets
from lmjax.heads.softmax import softmax_log_prob, softmax_loss
from lmjax.ids import nan_loss_outside, nan_outside
from lmjax.tree import add

__all__ = ["Adaptive", "Tail", "adaptive", "tied_adaptive"]

ROWS = 128  # positions of one cluster that are handled at a time


class Tail(NamedTuple):
    """Parameters of a cluster of k rarer words, over features projected down to d."""

    project: jax.Array  # [n, d]
    w: jax.Array  # [k, d]


class Adaptive(NamedTuple):
    """Parameters of an adaptive softmax with J clusters after the first c_1 words."""

    w: jax.Array  # [c_1 + J, n]  words, then clusters
    tails: tuple[Tail, ...]


@factory
def adaptive(
    n: int,
    vocab_size: int,
    *,
    cutoffs: tuple[int, ...] | None = None,
    div_value: int = 4,
) -> Head:
    """Return the adaptive softmax, an exact distribution over words sorted by frequency.

        log P(w | y) = log softmax(U y)_w                                       w < c_1
        log P(w | y) = log softmax(U y)_{c_1 + j - 1}
                       + log softmax(T_j P_j y)_{w - c_j}                       c_j <= w < c_{j+1}

    Word 0 is the most frequent; `data.Vocabulary` numbers words in this order. P_j takes y to
    n / div_value^j features (at least 8), so that rare words cost little. A cluster is read only
    where the target is in it.

    `loss` differentiates in reverse mode only. `log_prob` is the same number, computed from all
    clusters at all positions, with derivatives of every kind.

    Args:
        n: size of the features y.
        vocab_size: V.
        cutoffs: c_1 < ... < c_J < V, the first word of each cluster; default `default_cutoffs(V)`.
            Without any it is the full softmax without bias. A list will do, as in torch.
        div_value: how much narrower each cluster is than the one before.

    >>> from types import SimpleNamespace
    >>> head = adaptive(16, 50, cutoffs=(10, 20))
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> params.head.w.shape, [tail.w.shape for tail in params.head.tails]
    ((12, 16), [(10, 8), (30, 8)])
    >>> float(jnp.exp(head.log_probs(params, jnp.ones(16))).sum().round(5))
    1.0

    Raises:
        ValueError: the cutoffs are no whole numbers, or do not rise from above 0 to below V, or
            another number is below 1.

    References: Grave, Joulin, Cisse, Grangier and Jegou (2017).
    """
    edges = _edges("adaptive", n, vocab_size, cutoffs, div_value)
    return _over(edges, _initial(n, edges, div_value), lambda params: params.head)


@factory
def tied_adaptive(
    n: int,
    vocab_size: int,
    *,
    cutoffs: tuple[int, ...] | None = None,
    div_value: int = 4,
) -> Head:
    """Return the adaptive softmax whose tables are those of an embedding of varying size.

        e_w = U_w                        w < c_1
        e_w = P_j^T T_j[w - c_j]         c_j <= w < c_{j+1}

    A rare word is a short vector, both where it is read and where it is predicted. The tables and
    the projections of `adaptive` are `params.embed`, an `Adaptive` without rows for the clusters;
    these rows `[J, n]` are `params.head`. Arguments and errors as for `adaptive`; a word vector has
    the size n of the features.

    >>> from types import SimpleNamespace
    >>> head = tied_adaptive(16, 50, cutoffs=(10, 20))
    >>> embed = head.embedding.init(jax.random.key(0))
    >>> params = SimpleNamespace(embed=embed, head=head.init(jax.random.key(1)))
    >>> head.embedding.lookup(embed, jnp.array([3, 30])).shape
    (2, 16)
    >>> float(jnp.exp(head.log_probs(params, jnp.ones(16))).sum().round(5))
    1.0

    References: Baevski and Auli (2019).
    """
    edges = _edges("tied_adaptive", n, vocab_size, cutoffs, div_value)
    init, first = _initial(n, edges, div_value), edges[1]

    def init_embedding(key) -> Adaptive:
        whole = init(key)
        return whole._replace(w=whole.w[:first])

    def lookup(embed, tokens):
        x = embed.w[jnp.clip(tokens, 0, first - 1)]
        for start, tail in zip(edges[1:], embed.tails, strict=False):
            narrow = tail.w[jnp.clip(tokens - start, 0, len(tail.w) - 1)]
            x = jnp.where((tokens < start)[..., None], x, narrow @ tail.project.T)
        return nan_outside(x, tokens[..., None], vocab_size)

    def weights(params):
        return params.embed._replace(w=jnp.concatenate([params.embed.w, params.head]))

    head = _over(edges, lambda key: _uniform(key, (len(edges) - 2, n), n), weights)
    return head._replace(shares_embedding=True, embedding=Embedding(init_embedding, lookup))


def _edges(name, n, vocab_size, cutoffs, div_value):
    """Return 0, the cutoffs, V, or refuse them."""
    check_positive(n=n, vocab_size=vocab_size)
    cuts = default_cutoffs(vocab_size) if cutoffs is None else cutoffs
    edges = (0, *cuts, vocab_size)
    if any(a >= b for a, b in pairwise(edges)):
        raise ValueError(
            f"{name}: cutoffs must rise and lie between 0 and vocab_size={vocab_size}, got {cuts}"
        )
    if div_value < 1:
        raise ValueError(f"{name}: div_value must be at least 1, got {div_value}")
    return edges


def _initial(n, edges, div_value):
    """Return the function that draws the parameters."""

    def init(key) -> Adaptive:
        w = _uniform(jax.random.fold_in(key, 0), (edges[1] + len(edges) - 2, n), n)
        tails = []
        for j, (start, end) in enumerate(pairwise(edges[1:]), 1):
            d = width(n, j, div_value)
            k_project, k_w = jax.random.split(jax.random.fold_in(key, j))
            project = _uniform(k_project, (n, d), n)
            tails.append(Tail(project, _uniform(k_w, (end - start, d), d)))
        return Adaptive(w, tuple(tails))

    return init


def _over(edges, init, weights) -> Head:
    """Return the head whose `Adaptive` is weights(params)."""
    _, *cuts, vocab_size = edges
    first = edges[1]

    def log_probs(params, y):
        w, tails = weights(params)
        top = jax.nn.log_softmax(y @ w.T)
        rare = []
        for j, tail in enumerate(tails):
            within = jax.nn.log_softmax(y @ tail.project @ tail.w.T)
            rare.append(top[..., first + j, None] + within)
        return jnp.concatenate([top[..., :first], *rare], -1)

    def score(of_first, of_tail, params, y, token):
        """Score with one function for the first softmax and one for each cluster."""
        check_targets(y, token)
        w, tails = weights(params)
        y = y.reshape(-1, y.shape[-1]).astype(jnp.result_type(y, w))
        ids = jnp.clip(token.reshape(-1), 0, vocab_size - 1)
        cluster = jnp.searchsorted(jnp.array(cuts, int), ids, side="right")  # 0 where none
        first_word = jnp.where(cluster > 0, first + cluster - 1, ids)
        logp = of_first(w, jnp.zeros(len(w), w.dtype), y, first_word)
        for j, tail in enumerate(tails, 1):
            within = jnp.clip(ids - edges[j], 0, len(tail.w) - 1)
            logp += of_tail(cluster == j, tail, y, within)
        return logp.reshape(token.shape)

    def log_prob(params, y, token):
        logp = score(softmax_log_prob, _everywhere, params, y, token)
        return nan_outside(logp, token, vocab_size)

    def loss(params, y, token, key):
        logp = score(lambda *at: -softmax_loss(*at), _where_needed, params, y, token)
        return nan_loss_outside(-logp, token, vocab_size)

    return Head(init, log_probs, log_prob, loss)


def _uniform(key, shape, n_in):
    return jax.random.uniform(key, shape, minval=-1, maxval=1) * n_in**-0.5


def _tail_log_prob(tail, y, token):
    return softmax_log_prob(tail.w, jnp.zeros(len(tail.w), y.dtype), y @ tail.project, token)


def _everywhere(mask, tail, y, token):
    """Return log P(token | cluster) at the positions in the mask, 0 elsewhere."""
    return jnp.where(mask, _tail_log_prob(tail, y, token), 0)


@jax.custom_vjp
def _where_needed(mask, tail, y, token):
    """Return the same as `_everywhere`, at the cost of the positions in the mask alone.

    It loops over chunks of these positions. How many there are is known only at run time, which
    `lax.while_loop` allows and its reverse mode does not; so the backward pass is a second loop.
    """

    def chunk(rows, logp):
        values = _tail_log_prob(tail, _take(y, rows), _take(token, rows))
        return logp.at[rows].set(values, mode="drop")

    return _over_chunks(mask, chunk, jnp.zeros(len(y), y.dtype))


def _forward(*arguments):
    return _where_needed(*arguments), arguments


def _backward(arguments, g):
    mask, tail, y, token = arguments

    def chunk(rows, gradients):
        dtail, dy = gradients
        at = lambda tail, y: _tail_log_prob(tail, y, _take(token, rows))
        _, pullback = jax.vjp(at, tail, _take(y, rows))
        of_tail, of_y = pullback(_take(g, rows))
        return add(dtail, of_tail), dy.at[rows].set(of_y, mode="drop")

    zeros = jax.tree.map(jnp.zeros_like, (tail, y))
    dtail, dy = _over_chunks(mask, chunk, zeros)
    return None, dtail, dy, None


_where_needed.defvjp(_forward, _backward)


def _take(x, rows):
    """Return x[rows], zero for the rows past the end that fill the last chunk."""
    return x.at[rows].get(mode="fill", fill_value=0)


def _over_chunks(mask, body, carry):
    """Fold `body(rows, carry)` over the positions in the mask, `ROWS` at a time."""
    most = -(-len(mask) // ROWS)
    # A position past the end fills the last chunk: it reads zero and writes nothing.
    positions = jnp.nonzero(mask, size=most * ROWS, fill_value=len(mask))[0]
    chunks = positions.reshape(most, ROWS)
    needed = -(-mask.sum() // ROWS)
    return lax.fori_loop(0, needed, lambda k, carry: body(chunks[k], carry), carry)
