"""The adaptive softmax: frequent words at once, rare ones in clusters that are read only when they are needed."""

from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.heads.head import Head
from lmjax.heads.softmax import softmax_log_prob, softmax_loss

__all__ = ["Adaptive", "Tail", "adaptive", "default_cutoffs"]

ROWS = 128  # positions of one cluster that are handled at a time


class Tail(NamedTuple):
    """Parameters of a cluster of k rarer words, over features projected down to d."""

    project: jax.Array  # [n, d]
    w: jax.Array  # [k, d]


class Adaptive(NamedTuple):
    """Parameters of an adaptive softmax with J clusters after the first c_1 words."""

    w: jax.Array  # [c_1 + J, n]  words, then clusters
    tails: tuple[Tail, ...]


@cache
def adaptive(n: int, vocab_size: int, *, cutoffs: tuple[int, ...] | None = None, div_value: int = 4) -> Head:
    """Return the adaptive softmax, an exact distribution over words sorted by frequency, the most frequent first.

        log P(w | y) = log softmax(U y)_w                                             w < c_1
        log P(w | y) = log softmax(U y)_{c_1 + j - 1} + log softmax(T_j P_j y)_{w - c_j}    c_j <= w < c_{j+1}

    P_j takes y to n / div_value^j features (at least 8), so rare words cost little, and a cluster is read
    only where the target is in it. `data.Vocabulary` numbers words in the order that is needed.
    `loss` differentiates in reverse mode only; `log_prob` is the same number, from all clusters at all
    positions, with derivatives of every kind.

    Args:
        n: size of the features y.
        vocab_size: V.
        cutoffs: c_1 < ... < c_J < V, the first word of each cluster; default `default_cutoffs(V)`.
            Without any it is the full softmax without bias.
        div_value: how much narrower each cluster is than the one before.

    >>> from types import SimpleNamespace
    >>> head = adaptive(16, 50, cutoffs=(10, 20))
    >>> params = SimpleNamespace(head=head.init(jax.random.key(0)))
    >>> params.head.w.shape, [tail.w.shape for tail in params.head.tails]
    ((12, 16), [(10, 8), (30, 8)])
    >>> float(jnp.exp(head.log_probs(params, jnp.ones(16))).sum().round(5))
    1.0

    Raises:
        ValueError: the cutoffs do not rise from above 0 to below V, or `div_value` is below 1.

    References: Grave, Joulin, Cisse, Grangier and Jegou (2017).
    """
    cuts = default_cutoffs(vocab_size) if cutoffs is None else cutoffs
    edges = (0, *cuts, vocab_size)
    if any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"adaptive: cutoffs must rise and lie between 0 and vocab_size={vocab_size}, got {cuts}")
    if div_value < 1:
        raise ValueError(f"adaptive: div_value must be at least 1, got {div_value}")
    first = edges[1]

    def init(key) -> Adaptive:
        uniform = lambda key, shape, n_in: jax.random.uniform(key, shape, minval=-1, maxval=1) * n_in**-0.5
        tails = []
        for j, (start, end) in enumerate(pairwise(edges[1:]), 1):
            d = max(n // div_value**j, min(n, 8))
            k_project, k_w = jax.random.split(jax.random.fold_in(key, j))
            tails.append(Tail(uniform(k_project, (n, d), n), uniform(k_w, (end - start, d), d)))
        return Adaptive(uniform(jax.random.fold_in(key, 0), (first + len(cuts), n), n), tuple(tails))

    def log_probs(params, y):
        top = jax.nn.log_softmax(y @ params.head.w.T)
        rare = [
            top[..., first + j, None] + jax.nn.log_softmax(y @ tail.project @ tail.w.T)
            for j, tail in enumerate(params.head.tails)
        ]
        return jnp.concatenate([top[..., :first], *rare], -1)

    def score(top, tails, params, y, token):
        y, ids = y.reshape(-1, n).astype(jnp.result_type(y, params.head.w)), token.reshape(-1)
        cluster = jnp.searchsorted(jnp.array(cuts, int), ids, side="right")  # 0 where none
        w = params.head.w
        logp = top(w, jnp.zeros(len(w), w.dtype), y, jnp.where(cluster > 0, first + cluster - 1, ids))
        for j, tail in enumerate(params.head.tails, 1):
            logp += tails(cluster == j, tail, y, jnp.clip(ids - edges[j], 0, len(tail.w) - 1))
        return logp.reshape(token.shape)

    return Head(
        init=init,
        log_probs=log_probs,
        log_prob=partial(score, softmax_log_prob, _everywhere),
        loss=lambda params, y, token, key: -score(lambda *at: -softmax_loss(*at), _where_needed, params, y, token),
    )


def default_cutoffs(vocab_size: int) -> tuple[int, ...]:
    """Return those of 2000, 10,000, 50,000, ... that are below V: the published cuts, carried on by their ratio.

    >>> default_cutoffs(1500), default_cutoffs(10_000), default_cutoffs(33_278)
    ((), (2000,), (2000, 10000))

    References: Grave et al. (2017), the settings for Penn Treebank (2000) and text8 (2000, 10,000).
    """
    return tuple(2000 * 5**j for j in range(20) if 2000 * 5**j < vocab_size)


def _tail_log_prob(tail, y, token):
    return softmax_log_prob(tail.w, jnp.zeros(len(tail.w), y.dtype), y @ tail.project, token)


def _everywhere(mask, tail, y, token):
    return jnp.where(mask, _tail_log_prob(tail, y, token), 0)


@jax.custom_vjp
def _where_needed(mask, tail, y, token):
    """Return the same as `_everywhere`, at the cost of the positions in the mask: a loop over chunks of them.

    How many chunks is known only at run time, which `lax.while_loop` allows and its reverse mode does
    not; so the backward pass is a second such loop. No mask is too full for it.
    """

    def chunk(rows, logp):
        return logp.at[rows].set(_tail_log_prob(tail, _take(y, rows), _take(token, rows)), mode="drop")

    return _over_chunks(mask, chunk, jnp.zeros(len(y), y.dtype))


def _backward(kept, g):
    mask, tail, y, token = kept

    def chunk(rows, gradients):
        at = lambda tail, y: _tail_log_prob(tail, y, _take(token, rows))
        of_tail, of_y = jax.vjp(at, tail, _take(y, rows))[1](_take(g, rows))
        return jax.tree.map(jnp.add, gradients[0], of_tail), gradients[1].at[rows].set(of_y, mode="drop")

    dtail, dy = _over_chunks(mask, chunk, jax.tree.map(jnp.zeros_like, (tail, y)))
    return None, dtail, dy, None


_where_needed.defvjp(lambda *args: (_where_needed(*args), args), _backward)


def _take(x, rows):
    """x[rows], zero for the rows past the end that fill the last chunk."""
    return x.at[rows].get(mode="fill", fill_value=0)


def _over_chunks(mask, body, carry):
    """Fold `body(rows, carry)` over the positions in the mask, `ROWS` at a time, filled up with the length."""
    chunks = -(-len(mask) // ROWS)
    rows = jnp.nonzero(mask, size=chunks * ROWS, fill_value=len(mask))[0].reshape(chunks, ROWS)
    return lax.fori_loop(0, -(-mask.sum() // ROWS), lambda k, carry: body(rows[k], carry), carry)
