"""The n-grams of a text as features: each context, and the words that were seen to follow it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.checks import check_positive
from lmjax.models.maxent.features import Features
from lmjax.models.snm.features import Table, count
from lmjax.models.snm.model import find

__all__ = ["Links", "Observed", "link", "observed"]


class Links(NamedTuple):
    """C contexts, and L links from them to words that followed.

    Context 0 has no words. A context is its parent, the same without its farthest word, and that
    word: the children of context c are children[c] to children[c + 1] - 1, sorted by it. The links
    of c are first[c] to first[c + 1] - 1.
    """

    children: Any  # int32 [C + 1]
    word: Any  # int32 [C]  the farthest
    first: Any  # int32 [C + 1]
    follower: Any  # int32 [L]


class Observed(NamedTuple):
    """Links and their weights, which alone are trained."""

    links: Links
    theta: jax.Array  # [L]


def link(ids, order: int, *, vocab_size: int, successors: int = 64, min_count: int = 1) -> Links:
    """Return the links of the n-grams of 2 to `order` words of a text.

    Features are selected by their counts: those below `min_count` are left out, and of each context
    all but the `successors` most frequent words.

    Args:
        ids: int `[N]`, each from 0 to `vocab_size` - 1.
        order: n, of the longest n-grams.
        vocab_size: V.
        successors: S, links of a context at the most.
        min_count: of the n-grams.

    >>> links = link([0, 1, 0, 2, 0, 1], 2, vocab_size=3, successors=1)
    >>> links.word.tolist(), links.first.tolist(), links.follower.tolist()
    ([-1, 0, 1, 2], [0, 0, 1, 2, 3], [1, 0, 0])

    Raises:
        ValueError: `order` is below 2, another number below 1, no n-gram has that count, or the
            text holds less than two tokens or one that is not in the vocabulary.
    """
    if order < 2:
        raise ValueError(f"order: must be at least 2, got {order}; a word alone is the head's bias")
    check_positive(successors=successors, min_count=min_count)
    types = tuple(tuple(range(1, k)) for k in range(1, order + 1))
    tables = count(ids, types, vocab_size=vocab_size).tables
    parent, parents = np.zeros(1, np.int64), 1  # new numbers of contexts one word shorter; -1: none
    children, words, sizes, followers = [], [np.array([-1])], [np.array([0])], []
    total = 1
    for table in tables[1:]:
        kept = _selected(table, successors, min_count)
        size = np.add.reduceat(kept, table.first[:-1])
        of = np.repeat(parent, np.diff(table.children))
        there = (size > 0) & (of >= 0)
        # those of parent p lie together, and the parents in their order
        children.append(total + np.searchsorted(of[there], np.arange(parents)))
        words.append(table.word[there])
        sizes.append(size[there])
        followers.append(table.follower[kept & np.repeat(there, np.diff(table.first))])
        parent, parents = np.where(there, np.cumsum(there) - 1, -1), there.sum()
        total += parents
    if total == 1:
        raise ValueError(f"min_count: no word follows another {min_count} times in the text")
    children.append(np.full(parents + 1, total))
    whole = lambda parts: np.concatenate(parts).astype(np.int32)
    first = whole([[0], np.cumsum(np.concatenate(sizes))])
    return Links(whole(children), whole(words), first, whole(followers))


def _selected(table: Table, successors: int, min_count: int) -> np.ndarray:
    """Return which links of a table are among the most frequent of their context."""
    context = np.repeat(np.arange(len(table.word)), np.diff(table.first))
    by_count = np.lexsort((-table.counts, context))
    kept = np.empty(len(context), bool)
    kept[by_count] = np.arange(len(context)) - table.first[context] < successors
    return kept & (table.counts >= min_count)


def observed(links: Links, vocab_size: int) -> Features:
    """Return links as features: m_w is the sum of the weights of the links to w.

    The weights begin at zero. Make it once: each call gives functions of their own, and a model
    with them is compiled anew.

    >>> features = observed(link([0, 1, 0, 2], 2, vocab_size=3), 3)
    >>> params = features.init(jax.random.key(0))._replace(theta=jnp.array([5.0, 6.0, 7.0]))
    >>> features.everywhere(params, jnp.array([[0], [1], [2], [-1]])).tolist()
    [[0.0, 5.0, 6.0], [7.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    sizes = np.diff(links.first)
    width, reach = int(sizes.max(initial=1)), _depth(np.asarray(links.children))

    def init(key) -> Observed:
        index = Links(*(jnp.asarray(x, jnp.int32) for x in links))
        return Observed(index, jnp.zeros(len(links.follower)))

    def successors(params: Observed, history):
        """Return the words that have a weight, V where there is none, and the weights."""
        links = params.links
        contexts, context = [], 0
        for k in range(1, reach + 1):
            context = find(links.children, links.word, context, history[..., -k])
            contexts.append(context)
        c = jnp.stack(contexts, -1)[..., None]
        at = links.first[c] + jnp.arange(width)
        at = jnp.where((c >= 0) & (at < links.first[c + 1]), at, len(links.follower))
        at = at.reshape(*history.shape[:-1], -1)
        read = lambda x, nothing: x.at[at].get(mode="fill", fill_value=nothing)
        return read(links.follower, vocab_size), read(params.theta, 0)

    def everywhere(params: Observed, history):
        return _added(vocab_size, *successors(params, history))

    def at(params: Observed, history, token, drawn):
        words, weights = successors(params, history)
        own = jnp.where(words == token[..., None], weights, 0).sum(-1)
        k = len(drawn)
        slot = jnp.full(vocab_size + 1, k).at[drawn].set(jnp.arange(k))  # one of a word drawn twice
        return own, _added(k, slot[words], weights)[..., slot[drawn]]

    return Features(vocab_size, reach, init, everywhere, at)


def _added(size: int, places, weights):
    """Add weights up by their places, both `[..., M]`, in `[..., size]`."""
    flat = lambda x: x.reshape(-1, x.shape[-1])
    sums = jnp.zeros((len(flat(places)), size), weights.dtype)
    rows = jnp.arange(len(sums))[:, None]
    sums = sums.at[rows, flat(places)].add(flat(weights), mode="drop")
    return sums.reshape(*weights.shape[:-1], size)


def _depth(children: np.ndarray) -> int:
    """Return how many words the longest contexts have."""
    depth, level = 0, (0, 1)
    while (level := (children[level[0]], children[level[1]]))[0] < level[1]:
        depth += 1
    return depth
