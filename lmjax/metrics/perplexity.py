"""Exact perplexity over stated tokens, with the signature that reproduces it."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.data import contiguous
from lmjax.ids import token_ids
from lmjax.metrics.signature import signature
from lmjax.models import LanguageModel, log_prob, vocab_size
from lmjax.precision import full_precision

__all__ = ["Perplexity", "perplexity", "summed", "unigram_perplexity"]


class Perplexity(NamedTuple):
    """A perplexity and what it was measured on."""

    perplexity: float  # exp(nll)
    nll: float  # mean negative log-likelihood, nats a token
    tokens: int  # how many tokens were scored
    oov: int  # how many of them are `<unk>`, which stands for words that are not in the vocabulary
    perplexity_without_oov: float  # the same over the other tokens
    seconds: float
    signature: str


def perplexity(
    lm: LanguageModel,
    params,
    ids: np.ndarray,
    *,
    start: int,
    unknown: int = -1,
    batch_size: int = 1,
    seq_len: int = 128,
    **fields,
) -> Perplexity:
    """Return exp of the mean negative log-likelihood over every token of a stream.

        perplexity = exp( -1/N sum_{t=1..N} log P(x_t | start, x_1..x_{t-1}) )

    The state is carried over the whole stream. With a batch size above 1 the stream is cut into
    that many sequences scored side by side: faster, and each begins without context, so slightly
    higher. Log-probabilities are the head's exact ones, in the precision of the parameters also
    where a backend multiplies float32 in less by default (TF32 on a GPU, bfloat16 on a TPU), summed
    in double precision.

    Unknown words are tokens as any other, and counted: as in KenLM there is a second perplexity,
    over the tokens that are known, after the same words as before.

    Args:
        lm: the model.
        params: its parameters.
        ids: int `[N]`, all of which are scored.
        start: the token before the first, e.g. `vocab.eos`.
        unknown: the token of unknown words, `vocab.unk`; none by default.
        batch_size: how many sequences; 1 is the exact protocol.
        seq_len: how many tokens of each are scored at once; affects memory and speed alone.
        **fields: what the signature shall name besides the versions, e.g. `corpus="..."`.

    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> params = jax.tree.map(jnp.zeros_like, lm.init(jax.random.key(0)))
    >>> result = perplexity(lm, params, np.arange(7), start=0)
    >>> round(result.perplexity, 4), result.tokens
    (10.0, 7)

    Raises:
        ValueError: the stream is empty, a token of it or `start` is not in the vocabulary, the
            parameters are not the model's, or `batch_size` or `seq_len` is below 1.
    """
    begin = time.perf_counter()
    size = vocab_size(lm, params)
    ids = token_ids("ids", ids, size)
    start = token_ids("start", [start], size)[0]
    state = lm.cell.initial_state(params.cell, (batch_size,))
    # losses stay on the device until the end: no batch waits for the one before
    sums, tokens, oov = [], 0, 0
    for batch in contiguous(ids, batch_size=batch_size, seq_len=seq_len, start=start):
        state, nll = _score(lm, params, state, batch, unknown)
        sums.append(nll)
        tokens += int(batch.mask.sum())
        oov += int((batch.mask & (batch.targets == unknown)).sum())
    text = signature(**fields, tokens=tokens, batch_size=batch_size)
    return summed(sums, tokens, oov, time.perf_counter() - begin, text)


def summed(sums, tokens: int, oov: int, seconds: float, text: str) -> Perplexity:
    """Return the perplexity of losses that were added up, over all tokens and over known ones.

    Args:
        sums: pairs of numbers, added up here in double precision.
        tokens: how many the first of each pair are of in all.
        oov: how many of them the second leaves out.
        seconds: it took.
        text: the signature.
    """
    whole, known = np.array(jax.device_get(sums), float).sum(0)
    nll = float(whole / tokens)
    with np.errstate(all="ignore"):  # too large is inf, and nan is over no tokens
        value, without = float(np.exp(nll)), float(np.exp(known / (tokens - oov)))
    return Perplexity(value, nll, tokens, oov, without, seconds, text)


@partial(jax.jit, static_argnames="lm")
@full_precision
def _score(lm, params, state, batch, unknown):
    """Return the state, and the losses summed over all tokens, and over the known ones."""
    state, logp = log_prob(lm, params, state, batch.inputs, batch.targets)
    known = batch.mask & (batch.targets != unknown)
    return state, jnp.stack([-jnp.where(mask, logp, 0).sum() for mask in (batch.mask, known)])


def unigram_perplexity(train: np.ndarray, ids: np.ndarray, vocab_size: int) -> float:
    """Return the baseline: perplexity of the unigram model P(w) = (count(w) + 1) / (N + V).

    >>> round(unigram_perplexity(np.array([0, 0, 1]), np.array([0]), 2), 4)
    1.6667

    Raises:
        ValueError: there is nothing to score, or a token is not in the vocabulary.
    """
    train, ids = token_ids("train", train, vocab_size), token_ids("ids", ids, vocab_size)
    if not len(ids):
        raise ValueError("ids: must have at least one token, got none")
    counts = np.bincount(train, minlength=vocab_size) + 1
    return float(np.exp(-np.log(counts / counts.sum())[ids].mean()))
