"""The most probable continuation: greedily, or by beam search with length normalisation."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.checks import check_positive
from lmjax.decoding.prompt import advance
from lmjax.models import LanguageModel, next_log_probs
from lmjax.precision import full_precision

__all__ = ["Hypotheses", "beam_search", "greedy"]


class Hypotheses(NamedTuple):
    """Continuations, the best first."""

    tokens: jax.Array  # int [K, B, T]  `end` behind the last word, and from there on
    logp: jax.Array  # [K, B]  log P of the words and of the end; -inf where there is none
    score: jax.Array  # [K, B]  logp by the length, see `beam_search`


@partial(jax.jit, static_argnames=("lm", "length"))
@full_precision
def greedy(lm: LanguageModel, params, state, *, start: int, end: int, length: int) -> Hypotheses:
    """Return the continuations, K = 1, that take the most probable word each time.

    Args:
        lm: the model.
        params: its parameters.
        state: `[B, ...]`, before any word.
        start: the word that is read first.
        end: the word that ends a continuation; it stands in all places behind it as well.
        length: T, the most words, the end included.
    """
    check_positive(length=length)
    batch = jax.tree.leaves(state)[0].shape[0]
    begin = jnp.full(batch, start, jnp.int32)

    def take(carry, _):
        state, token, ended = carry
        state = advance(lm, params, state, token[None])
        logp = next_log_probs(lm, params, state)
        token = jnp.where(ended, end, logp.argmax(-1).astype(jnp.int32))
        own = jnp.where(ended, 0, logp.max(-1))
        return (state, token, ended | (token == end)), (token, own)

    _, (tokens, logp) = lax.scan(take, (state, begin, jnp.zeros(batch, bool)), length=length)
    total = logp.sum(0)[None]
    return Hypotheses(tokens.T[None], total, total)


class _Beams(NamedTuple):
    t: jax.Array  # []  words so far
    state: Any  # [K, B, ...]  of the live ones
    token: jax.Array  # [K, B]  their last words
    words: jax.Array  # [K, B, T]
    logp: jax.Array  # [K, B]
    ended: Hypotheses


@partial(jax.jit, static_argnames=("lm", "size", "length"))
@full_precision
def beam_search(
    lm: LanguageModel,
    params,
    state,
    *,
    start: int,
    end: int,
    length: int,
    size: int = 5,
    alpha: float = 0.6,
) -> Hypotheses:
    """Return the K best continuations found by a beam of K, each sentence by itself.

        score(y) = log P(y) / ((5 + |y|) / 6)^alpha

    At each step the K most probable unfinished continuations go on with all words; those that end
    are kept if they are among the K best scores. It stops where no unfinished one could come among
    them. One that reaches T words unfinished counts as it is. With K at least V^(T - 1) nothing is
    missed.

    Args:
        lm: the model.
        params: its parameters.
        state: `[B, ...]`, before any word; the model's functions broadcast over `[K, B, ...]`.
        start: the word that is read first.
        end: the word that ends a continuation.
        length: T, the most words, the end included.
        size: K, at most V - 1.
        alpha: how far long continuations are spared; 0 not at all.

    References: Wu et al. (2016) for the normalisation.
    """
    check_positive(length=length, size=size)
    batch = jax.tree.leaves(state)[0].shape[0]
    rows = jnp.arange(batch)
    normal = lambda logp, words: logp / ((5 + jnp.asarray(words, logp.dtype)) / 6) ** alpha
    best_first = lambda score: jnp.argsort(-score, axis=0)[:size]

    def widen(x):
        return jnp.broadcast_to(x, (size, *x.shape))

    none = jnp.full((size, batch), -jnp.inf)
    no_words = jnp.full((size, batch, length), end, jnp.int32)
    first = _Beams(
        t=jnp.zeros((), jnp.int32),
        state=jax.tree.map(widen, state),
        token=jnp.full((size, batch), start, jnp.int32),
        words=no_words,
        logp=none.at[0].set(0),  # all beams are alike at first: one goes on
        ended=Hypotheses(no_words, none, none),
    )

    def keep(ended: Hypotheses, more: Hypotheses) -> Hypotheses:
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ended, more)
        order = best_first(both.score)
        return jax.tree.map(lambda x: x[order, rows], both)

    def goes_on(beams: _Beams):
        # a live one can at best go on at no cost, and be as long as may be
        hope = normal(beams.logp.max(0), length)
        return (beams.t < length) & jnp.any(hope > beams.ended.score.min(0))

    def step(beams: _Beams) -> _Beams:
        live = advance(lm, params, beams.state, beams.token[None])
        logp = beams.logp[..., None] + next_log_probs(lm, params, live)  # [K, B, V]
        t = beams.t + 1
        over = logp[..., end]
        ended = keep(beams.ended, Hypotheses(beams.words, over, normal(over, t)))

        vocab = logp.shape[-1]
        by_sentence = jnp.moveaxis(logp.at[..., end].set(-jnp.inf), 1, 0).reshape(batch, -1)
        logp, place = lax.top_k(by_sentence, size)
        logp, place = logp.T, place.T  # [K, B]
        parent, token = place // vocab, place % vocab
        token = token.astype(jnp.int32)
        words = beams.words[parent, rows].at[..., t - 1].set(token)
        live = jax.tree.map(lambda x: x[parent, rows], live)
        return _Beams(t, live, token, words, logp, ended)

    beams = lax.while_loop(goes_on, step, first)
    cut = jnp.where(beams.t == length, beams.logp, -jnp.inf)
    return keep(beams.ended, Hypotheses(beams.words, cut, normal(cut, length)))
