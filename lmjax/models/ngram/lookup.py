"""Lookups: arrange a model's n-grams for any device, and score a text or a history with them.

The n-grams of length k are sorted by context, so that the words that may follow a context are one
range of rows. In it they are sorted by a hash of the word, so that a word's row is known but for a
few rows without a search: a hash table for each context, whose slots hold as many rows as collide
in them.

The row of the n-gram that ends at a position comes from the row, one order lower, of the one that
ends a position earlier: a text is scored with n - 1 rounds of lookups, each over all positions at
once.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lmjax.ids import is_word
from lmjax.models.ngram.model import Entries, Estimate, Level, NGram, Quantised
from lmjax.tree import shift

__all__ = ["index", "listing", "log_prob", "log_prob_after", "log_probs", "matches"]

LN10 = float(np.log(10))
CHUNK = 128  # followers of a context that are written at once
WINDOW = 8  # rows that are compared at once: nearly always all that share a slot


@jax.jit
def log_prob(model: NGram, tokens):
    """Score a text: log P(x_t | the n - 1 words before x_t, none before the sentence's start).

        P(w | h) = P*(w | h) if the n-gram h w is in the model,
                   else b(h) P(w | h without its first word)

    Args:
        model: an n-gram model.
        tokens: int `[T, ...]` token ids; the first begins a sentence, and so does each that follows
            `eos`.

    Returns:
        Natural log-probabilities float32 `[T, ...]`; NaN where a token, or one before it that its
        probability depends on, is not in the vocabulary.

    >>> from lmjax.models.ngram import count, index, mle
    >>> text = jnp.array([1, 2, 0, 1, 3, 0])
    >>> jnp.exp(log_prob(index(mle(count(text, 2, size=4, eos=0))), text)).round(3).tolist()
    [1.0, 0.5, 1.0, 1.0, 0.5, 1.0]

    References: Katz (1987) for the backoff form; Heafield (2011) for lookups of this kind.
    """
    logp = _take(model.levels[0].log10p, _word(model, tokens))
    for k, inside, row, found in _lookups(model, tokens):
        shorter = logp + _backoff_weight(model, k, row, inside)
        logp = jnp.where(found >= 0, _take(model.levels[k].log10p, found), shorter)
    nan_after = lambda logp: jnp.where(_after_no_word(model, tokens), jnp.nan, logp)
    all_words = is_word(tokens, model.vocab_size).all()
    return lax.cond(all_words, lambda logp: logp, nan_after, LN10 * logp)


def _after_no_word(model, tokens):
    """Return whether a token, or one of the n - 1 before it in its sentence, is no word."""
    after = here = ~is_word(tokens, model.vocab_size)
    for _ in model.levels[1:]:
        after = here | shift(jnp.zeros(tokens.shape[1:]), after & (tokens != model.eos))
    return after


@jax.jit
def matches(model: NGram, tokens):
    """Return how long the longest n-gram of the model is that ends at each token.

    Returns:
        `(length, possible)`: int32 `[T, ...]`; `possible` is how long it could be: n, or less near
        the start of a sentence.

    >>> from lmjax.models.ngram import count, index, mle
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 3, size=4, eos=0)))
    >>> [x.tolist() for x in matches(model, jnp.array([1, 2, 3, 0]))]
    [[2, 3, 1, 2], [2, 3, 3, 3]]
    """
    length, possible = jnp.ones((2, *tokens.shape), jnp.int32)
    for k, inside, _, found in _lookups(model, tokens):
        length = jnp.where(found >= 0, k + 1, length)
        possible = jnp.where(inside, k + 1, possible)
    return length, possible


def _lookups(model, tokens):
    """Look up the n-grams that end at each token, for contexts of k = 1..n-1 words.

    Yields:
        `(k, inside, row, found)`: whether the sentence holds k words before the token (`<s>` is
        one), the row of this context, and the row of the n-gram it makes with the token; -1 where
        not in the model.
    """
    word = _word(model, tokens)
    context = jnp.where(tokens == model.eos, 0, word)

    def shifted(x, start):
        return jnp.concatenate([jnp.full_like(x[:1], start), x[:-1]])

    row, inside = shifted(context, 0), jnp.ones(word.shape, bool)
    for k, level in enumerate(model.levels[1:], 1):
        found = _find(level, row, word)
        yield k, inside, row, found
        row = shifted(jnp.where(context > 0, found, -1), -1)
        inside = shifted(inside & (context > 0), False)


@jax.jit
def log_probs(model: NGram, history):
    """Return log P(w | h) for every word w.

    Args:
        model: an n-gram model.
        history: int `[..., n - 1]` the last words, counted from 1, the latest last; 0 at and before
            `<s>`.

    Returns:
        float32 `[..., V]`, NaN after a history that is not of the vocabulary.
    """
    batch = history.shape[:-1]
    history = history.reshape(math.prod(batch), model.order - 1)
    unigrams = _take(model.levels[0].log10p, jnp.arange(1, model.vocab_size + 1))
    logp = jnp.broadcast_to(unigrams, (len(history), model.vocab_size))
    for k, (row, inside) in enumerate(_contexts(model, history), 1):
        shorter = logp + _backoff_weight(model, k, row, inside)[:, None]
        logp = _write_followers(model.levels[k], row, shorter)
    words = is_word(history, model.vocab_size + 1).all(-1, keepdims=True)
    return jnp.where(words, LN10 * logp, jnp.nan).reshape(*batch, model.vocab_size)


def log_prob_after(model: NGram, history, token):
    """Return log P(token | h), as `log_probs` does for every word.

    Args:
        model: an n-gram model.
        history: int `[..., n - 1]`, see `log_probs`.
        token: int `[...]` token ids.

    Returns:
        float32 `[...]`, NaN where a token or its history is not of the vocabulary.
    """
    word = _word(model, token)
    logp = _take(model.levels[0].log10p, word)
    for k, (row, inside) in enumerate(_contexts(model, history), 1):
        found = _find(model.levels[k], row, word)
        shorter = logp + _backoff_weight(model, k, row, inside)
        logp = jnp.where(found >= 0, _take(model.levels[k].log10p, found), shorter)
    words = is_word(token, model.vocab_size) & is_word(history, model.vocab_size + 1).all(-1)
    return jnp.where(words, LN10 * logp, jnp.nan)


def index(estimate: Estimate) -> NGram:
    """Arrange an estimate, its rows in any order, for lookups, and put it on the device.

    A context with m followers has m slots, and a word's slot among them is its hash, scaled to m.
    Rows are sorted by context and slot, so that all a lookup needs beside it is how far the rows of
    a slot are from the slot's number.

    >>> from lmjax.models.ngram import count, index, mle
    >>> level = index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))).levels[1]
    >>> level.first.tolist(), level.word.tolist()
    ([0, 1, 1, 3, 4, 5], [2, 4, 3, 1, 1])
    """
    words, *longer = estimate.entries
    first = np.array([0, len(words.word)], np.int32)
    row = np.arange(
        len(words.word), dtype=np.int32
    )  # in the model, of each (k-1)-gram of the estimate
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        columns = [_values(x, row) for x in (words.word, words.log10p, words.log10b)]
        levels = [pool.submit(_on_device, first, (), *columns)]
        for entries in longer:
            contexts, context = len(row), row[entries.context]
            order = np.argsort(_hash(entries.word).astype(np.uint16), kind="stable")
            # by context, then by the order so far: both in one number, which sorts faster
            key = np.sort(context[order].astype(np.int64) << 32 | np.arange(len(order)))
            order = order[key & 0xFFFFFFFF]
            row = np.empty(len(order), np.int32)
            row[order] = np.arange(len(order), dtype=np.int32)
            levels.append(pool.submit(_level, entries, order, context, contexts))
    ends = jax.device_put((np.int32(estimate.eos), np.float32(estimate.unseen)))
    return NGram(tuple(level.result() for level in levels), *ends)


def _level(entries, order, context, contexts) -> Level:
    """Put the n-grams of one length on the device in this order, with what lookups find them by."""
    word = entries.word[order]
    sizes = np.bincount(context, minlength=contexts)
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    slot = np.repeat(first[:-1], sizes) + _slot(word, np.repeat(sizes, sizes))
    row = np.concatenate([[0], np.cumsum(np.bincount(slot, minlength=len(word)))])
    shift = row - np.arange(len(row))
    shift = shift.astype(np.min_scalar_type(-1 - abs(shift).max()))
    values = _values(entries.log10p, order), _values(entries.log10b, order)
    return _on_device(first, shift, word, *values)


def _on_device(*arrays) -> Level:
    """Put a level's arrays on the device."""
    return Level(*jax.device_put(arrays))


def listing(model: NGram) -> Estimate:
    """Return a model as a list of n-grams sorted by suffix, as KenLM sorts them.

    >>> from lmjax.models.ngram import count, index, mle
    >>> estimate = mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))
    >>> listing(index(estimate)).entries[1].word.tolist() == estimate.entries[1].word.tolist()
    True
    """
    entries = []
    order = np.zeros(1, np.int64)  # the rows of the shorter n-grams, sorted by suffix
    for level in model.levels:
        first, word = np.asarray(level.first), np.asarray(level.word)
        sizes = np.diff(first)[order]
        rows = np.repeat(first[order] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(word))
        key = np.sort(word[rows].astype(np.int64) << 32 | np.arange(len(word)))
        at = key & 0xFFFFFFFF
        context, order = np.repeat(np.arange(len(order)), sizes)[at], rows[at]
        values = _values(level.log10p, order), _values(level.log10b, order)
        entries.append(Entries((key >> 32).astype(np.int32), context, *values))
    return Estimate(tuple(entries), int(model.eos), float(model.unseen))


def _values(values, rows):
    """Return the values of some rows as float32, those of a quantised model restored; () stays."""
    if isinstance(values, Quantised):
        return np.asarray(values.table)[np.asarray(values.code)[rows]]
    return () if isinstance(values, tuple) else np.asarray(values)[rows]


def _find(level: Level, row, word):
    """Return the row of the n-gram (context row, word), or -1."""
    if not len(level.word):
        return jnp.full(jnp.shape(row), -1, jnp.int32)
    begin, end = _followers(level, row)
    slot = begin + _slot(word, end - begin)
    last = len(level.word)
    at = slot + _at(level.shift, slot)
    following = jnp.minimum(slot + 1, last)
    end = jnp.minimum(end, following + _at(level.shift, following))

    def compare(carry):
        at, found = carry
        rows = at[..., None] + jnp.arange(WINDOW, dtype=jnp.int32)
        equal = _at(level.word, jnp.minimum(rows, last - 1)) == word[..., None]
        same = (rows < end[..., None]) & equal
        return at + WINDOW, jnp.maximum(found, jnp.max(jnp.where(same, rows, -1), -1))

    remain = lambda carry: jnp.any(carry[0] < end)
    return lax.while_loop(remain, compare, (at, jnp.full_like(at, -1)))[1]


def _hash(word):
    """Return 16 bits that spread the words, uint32."""
    return word.astype(np.uint32) * np.uint32(2654435769) >> np.uint32(16)


def _slot(word, size):
    """Return the word's hash, scaled to [0, size)."""
    scale, size = _hash(word), size.astype(np.uint32)
    high, low = size >> np.uint32(16), size & np.uint32(0xFFFF)
    return (scale * high + (scale * low >> np.uint32(16))).astype(np.int32)


def _word(model: NGram, tokens):
    """Return token ids as words, counted from 1, all of them in the model."""
    return jnp.clip(jnp.asarray(tokens, jnp.int32), 0, model.vocab_size - 1) + 1


def _followers(level: Level, row):
    """Return the first and last + 1 row of the words that follow a context; none follows row -1."""
    context = jnp.maximum(row, 0)
    return _at(level.first, context), jnp.where(row < 0, 0, _at(level.first, context + 1))


def _at(values, rows):
    """Return values at rows, all of which must be there: without the cost of checking."""
    return values.at[rows].get(mode="promise_in_bounds")


def _take(values, rows):
    """Return values at rows; at -1 that of the first, if there is one."""
    rows = jnp.maximum(rows, 0)
    if isinstance(values, Quantised):
        return _at(values.table, _take(values.code, rows).astype(jnp.int32))
    return _at(values, rows) if len(values) else jnp.zeros(jnp.shape(rows), values.dtype)


def _backoff_weight(model, k, row, inside):
    """Return log10 b(h) for contexts h of k words.

    Those that are not in the model, row -1, have the weight `unseen` if
    they are inside the sentence, and else 0.
    """
    weight = _take(model.levels[k - 1].log10b, row)
    return jnp.where(row >= 0, weight, jnp.where(inside, model.unseen, 0))


def _contexts(model, history):
    """Return for k = 1..n-1 the row of the last k words, and whether the sentence holds k words."""
    n = model.order - 1
    word = [
        jnp.clip(history[..., n - 1 - i], 0, model.vocab_size) for i in range(n)
    ]  # latest first
    row = list(word)  # of the k-gram that ends i words ago
    inside = [jnp.ones(w.shape, bool) for w in word]
    result = []
    for k in range(1, n + 1):
        result.append((row[0], inside[0]))
        inside = [(word[i] > 0) & inside[i + 1] for i in range(n - k)]
        found = [_find(model.levels[k], row[i + 1], word[i]) for i in range(n - k)]
        row = [jnp.where(word[i] > 0, found[i], -1) for i in range(n - k)]
    return result


def _write_followers(level, row, logp):
    """Write log10 P* of the words that follow a context over what shorter contexts give them."""
    if not len(level.word):
        return logp
    begin, end = _followers(level, row)
    batch = jnp.arange(len(logp))[:, None]

    def write(carry):
        begin, logp = carry
        rows = begin[:, None] + jnp.arange(CHUNK, dtype=jnp.int32)
        inside = rows < end[:, None]
        rows = jnp.where(inside, rows, 0)
        word = jnp.where(inside, _at(level.word, rows) - 1, logp.shape[1])  # beyond V: dropped
        return begin + CHUNK, logp.at[batch, word].set(_take(level.log10p, rows), mode="drop")

    return lax.while_loop(lambda carry: jnp.any(carry[0] < end), write, (begin, logp))[1]
