"""Exact perplexity over stated tokens, with the signature that reproduces it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from lmjax.data import contiguous
from lmjax.ids import token_ids
from lmjax.metrics.signature import signature
from lmjax.models import LanguageModel, states, vocab_size
from lmjax.precision import full_precision
from lmjax.tree import is_floating

__all__ = [
    "Perplexity",
    "Report",
    "perplexity",
    "summary",
    "token_features",
    "token_log_probs",
    "unigram_perplexity",
]

Report = Callable[[int, int], None]  # told how many tokens are scored, of how many


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
    report: Report | None = None,
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
        report: is told `(done, total)` tokens after each batch.
        **fields: what the signature shall name besides the versions, e.g. `corpus="..."`.

    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> params = jax.tree.map(lambda x: 0 * x, lm.init(jax.random.key(0)))
    >>> result = perplexity(lm, params, np.arange(7), start=0)
    >>> round(result.perplexity, 4), result.tokens
    (10.0, 7)

    Raises:
        ValueError: the stream is empty, a token of it or `start` is not in the vocabulary, the
            parameters are not the model's, or `batch_size` or `seq_len` is below 1.
    """
    begin = time.perf_counter()
    cut: dict[str, Any] = {"batch_size": batch_size, "seq_len": seq_len}
    logp = token_log_probs(lm, params, ids, start=start, report=report, **cut)
    text = signature(**fields, tokens=len(logp), batch_size=batch_size)
    seconds = time.perf_counter() - begin
    return summary(logp, np.asarray(ids) == unknown, seconds=seconds, signature=text)


def token_log_probs(
    lm: LanguageModel,
    params,
    ids: np.ndarray,
    *,
    start: int,
    batch_size: int = 1,
    seq_len: int = 128,
    report: Report | None = None,
) -> np.ndarray:
    """Return log P(x_t | start, x_1..x_{t-1}) of every token of a stream, float `[N]`.

    Arguments and errors as for `perplexity`, which is made of these.
    """
    scored = _scores(lm, params, ids, start, batch_size, seq_len, report)
    return _in_order([logp for _, logp in scored], len(ids), batch_size)


def token_features(
    lm: LanguageModel,
    params,
    ids: np.ndarray,
    *,
    start: int,
    batch_size: int = 1,
    seq_len: int = 128,
    report: Report | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return `token_log_probs` and before them the features `[N, n]` that the head read.

    Raises:
        ValueError: besides, the features are not one array.
    """
    features, logp = [], []
    for y, scores in _scores(lm, params, ids, start, batch_size, seq_len, report):
        floating = [*filter(is_floating, jax.tree.leaves(y))]  # the last words may be beside them
        if len(floating) != 1:
            raise ValueError(
                "model: its features must be one array [..., n], as a mixture's are not"
            )
        features += floating
        logp.append(scores)
    return _in_order(features, len(ids), batch_size), _in_order(logp, len(ids), batch_size)


def _scores(lm, params, ids, start, batch_size, seq_len, report):
    """Yield the features and log-probabilities of each batch, which stay on the device.

    So no batch waits for the one before.
    """
    size = vocab_size(lm, params)
    ids = token_ids("ids", ids, size)
    start = token_ids("start", [start], size)[0]
    state = lm.cell.initial_state(params.cell, (batch_size,))
    batches = contiguous(ids, batch_size=batch_size, seq_len=seq_len, start=start)
    for k, batch in enumerate(batches, 1):
        state, *scored = _score(lm, params, state, batch)
        if report is not None:
            report(min(k * seq_len * batch_size, len(ids)), len(ids))
        yield scored


def _in_order(parts, length: int, batch_size: int) -> np.ndarray:
    """Return batches `[T, B, ...]` as the one sequence `[N, ...]` that they were cut from."""
    side_by_side = np.concatenate(jax.device_get(parts))[: -(-length // batch_size)]
    return side_by_side.swapaxes(0, 1).reshape(-1, *side_by_side.shape[2:])[:length]


def summary(logp, unknown, *, seconds: float, signature: str) -> Perplexity:
    """Return the perplexity of tokens by their log-probabilities `[N]`.

    Args:
        logp: natural logarithms.
        unknown: bool `[N]`, which of the tokens stand for unknown words.
        seconds: it took to get them.
        signature: of the result.

    >>> summary(np.log([0.5, 0.25, 0.1]), np.array([0, 0, 1]) == 1, seconds=0, signature="").oov
    1
    """
    losses = -np.asarray(logp, float)
    with np.errstate(all="ignore"):  # too large is inf, and nan is over no tokens
        whole, known = (float(x.sum() / x.size) for x in (losses, losses[~unknown]))
        values = float(np.exp(whole)), float(np.exp(known))
    oov = int(np.sum(unknown))
    return Perplexity(values[0], whole, len(losses), oov, values[1], seconds, signature)


@partial(jax.jit, static_argnames="lm")
@full_precision
def _score(lm, params, state, batch):
    final, all_states = states(lm, params, state, batch.inputs)
    y = lm.cell.read(params.cell, all_states)
    return final, y, lm.head.log_prob(params, y, batch.targets)


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
