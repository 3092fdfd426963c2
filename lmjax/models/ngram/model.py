"""The n-gram model: flat arrays, looked up in parallel on any device.

The n-grams of length k are sorted by context, so that what may follow a context is one stretch of rows. In
it they are sorted by a hash of the word, so that a word's row is known but for a few places without a search.
The row of the n-gram that ends at a position comes from the row, one order lower, of the one that ends a
position earlier: a text is scored with n - 1 rounds of lookups, each over all positions at once.

Words are numbered from 1 in here; 0 is `<s>`, which is a context and never predicted.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lmjax.cell import Cell
from lmjax.heads import Head
from lmjax.models.language_model import LanguageModel, Params

__all__ = [
    "Entries",
    "Estimate",
    "Level",
    "NGram",
    "Quantised",
    "index",
    "listing",
    "log_prob",
    "log_probs",
    "matches",
    "ngram",
    "quantise",
]

LN10 = float(np.log(10))
CHUNK = 128  # followers of a context that are written at once
WINDOW = 8  # rows that are compared at once: nearly always all that share a place


class Entries(NamedTuple):
    """The K n-grams of one length k and their values, each in a row; of length 1 all words in order, `<s>` first."""

    word: np.ndarray  # int32 [K]  the last word
    context: np.ndarray  # int [K]  row of the first k-1 words among the (k-1)-grams
    log10p: np.ndarray  # float32 [K]
    log10b: Any  # float32 [K]; () for the longest


class Estimate(NamedTuple):
    """A backoff model as a list of n-grams, which an ARPA file is too: `entries[k - 1]` holds those of length k."""

    entries: tuple[Entries, ...]
    eos: int  # the token id that ends a sentence
    unseen: float = 0.0  # log10 weight of a context that is not in the model


class Quantised(NamedTuple):
    """Values as places in a table of 256."""

    code: jax.Array  # uint8 [K]
    table: jax.Array  # float32 [256]


class Level(NamedTuple):
    """The K n-grams of one length k, sorted by context, then by the word's place in the context (see `index`)."""

    first: jax.Array  # int32 [contexts + 1]  context c is followed by the words in rows first[c] to first[c + 1] - 1
    shift: Any  # int8, 16 or 32 [K + 1]  words of place i are in rows i + shift[i] to i + shift[i + 1]; () for words
    word: jax.Array  # int32 [K]
    log10p: Any  # float32 [K] or Quantised  log10 P(word | context): the base of ARPA files, which hold it exactly
    log10b: Any  # float32 [K] or Quantised  log10 of the weight this context puts on shorter ones; () for the longest


class NGram(NamedTuple):
    """A backoff model: `levels[k - 1]` holds the n-grams of length k."""

    levels: tuple[Level, ...]
    eos: jax.Array  # int32 []  the token id that ends a sentence
    unseen: jax.Array  # float32 []  log10 weight of a context that is not in the model; 0 where P sums to 1

    @property
    def order(self) -> int:
        """N, the greatest length."""
        return len(self.levels)

    @property
    def vocab_size(self) -> int:
        """V, the number of words that can be predicted."""
        return len(self.levels[0].word) - 1


@jax.jit
def log_prob(model: NGram, tokens):
    """Score a text: log P(x_t | the n - 1 words before x_t, none before the sentence's start).

        P(w | h) = P*(w | h) if the n-gram h w is in the model, else b(h) P(w | h without its first word)

    Args:
        model: an n-gram model.
        tokens: int `[T, ...]` token ids; the first begins a sentence, and so does each that follows `eos`.

    Returns:
        Natural log-probabilities float32 `[T, ...]`.

    >>> from lmjax.models.ngram import count, index, mle
    >>> text = jnp.array([1, 2, 0, 1, 3, 0])
    >>> jnp.exp(log_prob(index(mle(count(text, 2, size=4, eos=0))), text)).round(3).tolist()
    [1.0, 0.5, 1.0, 1.0, 0.5, 1.0]

    References: Katz (1987) for the backoff form; Heafield (2011) for lookups of this kind.
    """
    logp = _take(model.levels[0].log10p, _word(model, tokens))
    for k, live, row, found in _lookups(model, tokens):
        shorter = logp + _backoff(model, k, row, live)
        logp = jnp.where(found >= 0, _take(model.levels[k].log10p, found), shorter)
    return LN10 * logp


@jax.jit
def matches(model: NGram, tokens):
    """Return how long the longest n-gram of the model is that ends at each token, and how long it could be.

    Returns:
        `(length, possible)`: int32 `[T, ...]`; `possible` is n, or less near the start of a sentence.

    >>> from lmjax.models.ngram import count, index, mle
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 3, size=4, eos=0)))
    >>> [x.tolist() for x in matches(model, jnp.array([1, 2, 3, 0]))]
    [[2, 3, 1, 2], [2, 3, 3, 3]]
    """
    length, possible = jnp.ones((2, *tokens.shape), jnp.int32)
    for k, live, _, found in _lookups(model, tokens):
        length, possible = jnp.where(found >= 0, k + 1, length), jnp.where(live, k + 1, possible)
    return length, possible


def _lookups(model, tokens):
    """Yield for k = 1..n-1: k, whether there are k words before, their row, and the row of the n-gram they make."""
    word = _word(model, tokens)
    context = jnp.where(tokens == model.eos, 0, word)
    before = lambda x, start: jnp.concatenate([jnp.full_like(x[:1], start), x[:-1]])
    row, live = before(context, 0), jnp.ones(word.shape, bool)
    for k, level in enumerate(model.levels[1:], 1):
        found = _find(level, row, word)
        yield k, live, row, found
        row = before(jnp.where(context > 0, found, -1), -1)
        live = before(live & (context > 0), False)


@jax.jit
def log_probs(model: NGram, history):
    """Return log P(w | h) for every word w.

    Args:
        model: an n-gram model.
        history: int `[..., n - 1]` the last words, counted from 1, the latest last; 0 at and before `<s>`.

    Returns:
        float32 `[..., V]`.
    """
    batch = history.shape[:-1]
    history = history.reshape(math.prod(batch), model.order - 1)
    logp = jnp.broadcast_to(
        _take(model.levels[0].log10p, jnp.arange(1, model.vocab_size + 1)), (len(history), model.vocab_size)
    )
    for k, (row, live) in enumerate(_rows(model, history), 1):
        logp = _followers(model.levels[k], row, logp + _backoff(model, k, row, live)[:, None])
    return LN10 * logp.reshape(*batch, model.vocab_size)


@cache
def ngram(vocab_size: int, order: int, *, eos: int) -> LanguageModel:
    """Return the n-gram language model as an embedding, a cell and a head.

    The cell is a shift register: its state int32 `[n - 1]` holds the last words, counted from 1, and 0 at and
    before the start of the sentence. All that is estimated is the head's, an `NGram`: nothing is trained
    here, and `init` gives the uniform distribution.

    >>> from lmjax.models import next_log_probs
    >>> from lmjax.models.ngram import count, index, mle
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0)))
    >>> lm, params = ngram(4, 2, eos=0), Params((), (), model)
    >>> jnp.exp(next_log_probs(lm, params, lm.cell.step((), lm.cell.initial_state(()), 1))).round(3).tolist()
    [0.0, 0.0, 0.5, 0.5]
    """

    def start(params, batch_shape=()):
        return jnp.zeros((*batch_shape, order - 1), jnp.int32)

    def step(params, state, token):
        shifted = jnp.concatenate([state, jnp.asarray(token, jnp.int32)[..., None] + 1], -1)[..., 1:]
        return jnp.where(jnp.asarray(token)[..., None] == eos, 0, shifted)

    def init(key) -> NGram:
        uniform = jnp.full(vocab_size + 1, -jnp.log10(vocab_size), jnp.float32)
        none = jnp.zeros(0, jnp.int32)
        words = jnp.arange(vocab_size + 1, dtype=jnp.int32)
        first = Level(jnp.array([0, vocab_size + 1], jnp.int32), (), words, uniform, 0 * uniform)
        longer = Level(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int8), none, 0.0 * none, 0.0 * none)
        second = longer._replace(first=jnp.zeros(vocab_size + 2, jnp.int32))
        levels = (first, second, *[longer] * order)[:order]
        return NGram((*levels[:-1], levels[-1]._replace(log10b=())), jnp.int32(eos), jnp.float32(0))

    def score(params, history, token):
        model = params.head
        word = _word(model, token)
        logp = _take(model.levels[0].log10p, word)
        for k, (row, live) in enumerate(_rows(model, history), 1):
            found = _find(model.levels[k], row, word)
            shorter = logp + _backoff(model, k, row, live)
            logp = jnp.where(found >= 0, _take(model.levels[k].log10p, found), shorter)
        return LN10 * logp

    head = Head(
        init=init,
        log_probs=lambda params, history: log_probs(params.head, history),
        log_prob=score,
        loss=lambda params, history, token, key: -score(params, history, token),
    )
    cell = Cell(init=lambda key: (), initial_state=start, step=step)
    return LanguageModel(lambda key: Params((), (), init(key)), lambda params, tokens: tokens, cell, head)


def index(estimate: Estimate) -> NGram:
    """Arrange an estimate, its rows in any order, for lookups, and put it on the device.

    A context with m followers has m places, and a word's place among them is its hash, scaled to m. Rows are
    sorted by context and place, so that all a lookup needs beside it is how far the rows of a place are off.

    >>> from lmjax.models.ngram import count, index, mle
    >>> level = index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))).levels[1]
    >>> level.first.tolist(), level.word.tolist()
    ([0, 1, 1, 3, 4, 5], [2, 4, 3, 1, 1])
    """
    words, *longer = estimate.entries
    first = np.array([0, len(words.word)], np.int32)
    row = np.arange(len(words.word), dtype=np.int32)  # in the model, of each shorter n-gram of the estimate
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        levels = [pool.submit(_on_device, first, (), *(_values(x, row) for x in (words.word, *words[2:])))]
        for entries in longer:
            contexts, context = len(row), row[entries.context]
            order = np.argsort(_hash(entries.word).astype(np.uint16), kind="stable")
            key = np.sort(context[order].astype(np.int64) << 32 | np.arange(len(order)))
            order = order[key & 0xFFFFFFFF]
            row = np.empty(len(order), np.int32)
            row[order] = np.arange(len(order), dtype=np.int32)
            levels.append(pool.submit(_level, entries, order, context, contexts))
    ends = jax.device_put((np.int32(estimate.eos), np.float32(estimate.unseen)))
    return NGram(tuple(level.result() for level in levels), *ends)


def _level(entries, order, context, contexts) -> Level:
    """Put the n-grams of one length on the device in this order, and say where lookups find them."""
    word = entries.word[order]
    sizes = np.bincount(context, minlength=contexts)
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    place = np.repeat(first[:-1], sizes) + _place(word, np.repeat(sizes, sizes))
    row = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(word)))])
    shift = row - np.arange(len(row))
    shift = shift.astype(np.min_scalar_type(-1 - abs(shift).max()))
    return _on_device(first, shift, word, _values(entries.log10p, order), _values(entries.log10b, order))


def _on_device(*arrays) -> Level:
    """Put a level's arrays on the device."""
    return Level(*jax.device_put(arrays))


def listing(model: NGram) -> Estimate:
    """Return a model as a list of n-grams in KenLM's order: by last word, then the word before, and so on.

    >>> from lmjax.models.ngram import count, index, mle
    >>> estimate = mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))
    >>> listing(index(estimate)).entries[1].word.tolist() == estimate.entries[1].word.tolist()
    True
    """
    entries = []
    order = np.zeros(1, np.int64)  # the rows of the shorter n-grams in KenLM's order
    for level in model.levels:
        first, word = np.asarray(level.first), np.asarray(level.word)
        sizes = np.diff(first)[order]
        rows = np.repeat(first[order] - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(word))
        key = np.sort(word[rows].astype(np.int64) << 32 | np.arange(len(word)))
        at = key & 0xFFFFFFFF
        context, order = np.repeat(np.arange(len(order)), sizes)[at], rows[at]
        values = (_values(level.log10p, order), _values(level.log10b, order))
        entries.append(Entries((key >> 32).astype(np.int32), context, *values))
    return Estimate(tuple(entries), int(model.eos), float(model.unseen))


def _values(values, rows):
    """Return the values of some rows as float32, those of a quantised model restored; () stays."""
    if isinstance(values, Quantised):
        return np.asarray(values.table)[np.asarray(values.code)[rows]]
    return () if isinstance(values, tuple) else np.asarray(values)[rows]


def quantise(model: NGram) -> NGram:
    """Return the model with every log-probability and backoff in 8 bits, but for the unigrams.

    The values of each length are cut by rank into 255 equal shares, each of which becomes its mean; 0 stays 0.

    >>> from lmjax.models.ngram import count, index, mle
    >>> model = quantise(index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))))
    >>> model.levels[1].log10p.code.dtype
    dtype('uint8')

    References: Federico and Bertoldi (2006).
    """
    longer = (level._replace(log10p=_cut(level.log10p), log10b=_cut(level.log10b)) for level in model.levels[1:])
    return model._replace(levels=(model.levels[0], *longer))


def _cut(values):
    """Return values as places in a table of means."""
    values = np.asarray(values)
    if not len(values):
        return ()
    order = np.flatnonzero(values)
    order = order[np.argsort(values[order])]
    code = np.zeros(len(values), np.uint8)
    code[order] = 1 + np.arange(len(order)) * 255 // len(order)
    shares = np.bincount(code, minlength=256)
    table = np.bincount(code, values, 256) / np.maximum(shares, 1)
    return Quantised(jnp.asarray(code), jnp.asarray(table, jnp.float32))


def _find(level: Level, row, word):
    """Return the row of the n-gram (context row, word), or -1."""
    if not len(level.word):
        return jnp.full(jnp.shape(row), -1, jnp.int32)
    begin, end = _stretch(level, row)
    place = begin + _place(word, end - begin)
    last = len(level.word)
    at = place + _at(level.shift, place)
    end = jnp.minimum(end, jnp.minimum(place + 1, last) + _at(level.shift, jnp.minimum(place + 1, last)))

    def compare(carry):
        at, found = carry
        rows = at[..., None] + jnp.arange(WINDOW, dtype=jnp.int32)
        same = (rows < end[..., None]) & (_at(level.word, jnp.minimum(rows, last - 1)) == word[..., None])
        return at + WINDOW, jnp.maximum(found, jnp.max(jnp.where(same, rows, -1), -1))

    return lax.while_loop(lambda carry: jnp.any(carry[0] < end), compare, (at, jnp.full_like(at, -1)))[1]


def _hash(word):
    """Return 16 bits that spread the words, uint32."""
    return word.astype(np.uint32) * np.uint32(2654435769) >> np.uint32(16)


def _place(word, size):
    """Return the word's hash, scaled to [0, size)."""
    scale, size = _hash(word), size.astype(np.uint32)
    high, low = size >> np.uint32(16), size & np.uint32(0xFFFF)
    return (scale * high + (scale * low >> np.uint32(16))).astype(np.int32)


def _word(model: NGram, tokens):
    """Return token ids as words, counted from 1, all of them in the model."""
    return jnp.clip(jnp.asarray(tokens, jnp.int32), 0, model.vocab_size - 1) + 1


def _stretch(level: Level, row):
    """Return the first row of what follows a context, and the row after the last; nothing follows context -1."""
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


def _backoff(model, k, row, live):
    """Return the log weight that a context of k words, in this row or in none, puts on the shorter one."""
    return jnp.where(row >= 0, _take(model.levels[k - 1].log10b, row), jnp.where(live, model.unseen, 0))


def _rows(model, history):
    """Return for k = 1..n-1 the row of the context of k words, and whether the sentence holds k words."""
    n = model.order - 1
    word = [jnp.clip(history[..., n - 1 - i], 0, model.vocab_size) for i in range(n)]  # the latest first
    row = list(word)  # of the k-gram that ends i words ago
    live = [jnp.ones(w.shape, bool) for w in word]
    result = []
    for k in range(1, n + 1):
        result.append((row[0], live[0]))
        live = [(word[i] > 0) & live[i + 1] for i in range(n - k)]
        row = [jnp.where(word[i] > 0, _find(model.levels[k], row[i + 1], word[i]), -1) for i in range(n - k)]
    return result


def _followers(level, row, logp):
    """Write the probabilities of the words that follow a context over those of the shorter contexts."""
    if not len(level.word):
        return logp
    begin, end = _stretch(level, row)
    lane = jnp.arange(len(logp))[:, None]

    def write(carry):
        begin, logp = carry
        rows = begin[:, None] + jnp.arange(CHUNK, dtype=jnp.int32)
        inside = rows < end[:, None]
        rows = jnp.where(inside, rows, 0)
        word = jnp.where(inside, _at(level.word, rows) - 1, logp.shape[1])
        return begin + CHUNK, logp.at[lane, word].set(_take(level.log10p, rows), mode="drop")

    return lax.while_loop(lambda carry: jnp.any(carry[0] < end), write, (begin, logp))[1]
