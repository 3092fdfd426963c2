"""Dynamic evaluation: a model that is trained on the text that it is scored on, as it goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmjax.checks import real
from lmjax.data import contiguous
from lmjax.ids import token_ids
from lmjax.metrics.perplexity import Perplexity, Report, summary
from lmjax.metrics.signature import signature
from lmjax.models import LanguageModel, log_prob, vocab_size
from lmjax.precision import full_precision
from lmjax.tree import combine, partition

__all__ = ["dynamic_perplexity"]

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
VALID = 2**14  # tokens of the validation text that each learning rate is tried on


class _Moving(NamedTuple):
    params: Any
    state: Any


def dynamic_perplexity(
    lm: LanguageModel,
    params,
    ids: np.ndarray,
    *,
    start: int,
    rates: Sequence[float] = RATES,
    valid: np.ndarray | None = None,
    unknown: int = -1,
    seq_len: int = 64,
    decay: float = 0.0,
    report: Report | None = None,
    **fields,
) -> Perplexity:
    """Return the perplexity of a stream under parameters that follow it.

    Each segment of `seq_len` tokens is scored, then the parameters take a step on it, along the
    gradient g of its mean loss, and by `decay` back to where they came from:

        theta <- theta - rate g / max(1, |g|) + decay (theta_0 - theta)

    The rate is the one under which the first 16,384 tokens of a validation text are most probable.

    No token is scored under parameters that have seen it. The model learns from the text that it is
    scored on: its perplexity stands beside those of models that do the same, never among others.

    Args:
        lm: the model.
        params: theta_0; they are not changed.
        ids: int `[N]`, all of which are scored.
        start: the token before the first of either text.
        rates: learning rates; one alone needs no validation text.
        valid: int `[M]`, the validation text.
        unknown: the token of unknown words; none by default.
        seq_len: tokens of a segment, and how far gradients flow back.
        decay: how far each step goes back to theta_0, from 0 to 1.
        report: is told `(done, total)` tokens that were read.
        **fields: what the signature shall name besides.

    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=3)
    >>> params, ids = lm.init(jax.random.key(0)), np.zeros(400, int)
    >>> result = dynamic_perplexity(lm, params, ids, start=0, rates=[1.0], seq_len=16)
    >>> result.perplexity < 1.5  # 3 without a step
    True

    Raises:
        ValueError: a text is empty, a token of it or `start` is not in the vocabulary, `rates` are
            none or no numbers or many without a validation text, or `decay` is not from 0 to 1.

    References: Mikolov, Karafiat, Burget, Cernocky and Khudanpur (2010); Krause, Kahembwe, Murray
    and Renals (2018).
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay: must be from 0 to 1, got {decay}")
    rates = [real("rates", rate) for rate in rates]
    if not rates or (len(rates) > 1 and valid is None):
        raise ValueError(f"rates: one, or several and a text `valid` to choose on, got {rates}")
    begin = time.perf_counter()
    size = vocab_size(lm, params)
    start = token_ids("start", [start], size)[0]
    trial = token_ids("valid", valid, size)[:VALID] if len(rates) > 1 else np.zeros(0, int)
    ids = token_ids("ids", ids, size)
    total = len(rates) * len(trial) + len(ids)

    def scores(text, rate: float, before: int):
        tell = None if report is None else lambda done: report(before + done, total)
        return _scores(lm, params, text, start, rate, decay, seq_len, tell)

    rate = rates[0]
    if len(rates) > 1:
        tried = [scores(trial, rate, k * len(trial)).mean() for k, rate in enumerate(rates)]
        rate = rates[int(np.argmax(np.nan_to_num(tried, nan=-np.inf)))]
    logp = scores(ids, rate, total - len(ids))
    text = signature(**fields, tokens=len(ids), dynamic=f"{rate:g}", seq_len=seq_len, decay=decay)
    return summary(logp, ids == unknown, seconds=time.perf_counter() - begin, signature=text)


def _scores(lm, params, ids, start, rate, decay, seq_len, report):
    """Return the log-probabilities `[N]` of a stream, each under the parameters of its segment."""
    moving = _Moving(params, lm.cell.initial_state(params.cell, (1,)))
    moving = jax.tree.map(jnp.copy, moving)  # `_follow` donates them
    parts = []
    for batch in contiguous(ids, batch_size=1, seq_len=seq_len, start=start):
        moving, logp = _follow(lm, params, moving, batch, rate, decay)
        parts.append(logp)
        if report is not None:
            report(min(len(parts) * seq_len, len(ids)))
    return np.concatenate(jax.device_get(parts)).ravel()[: len(ids)]


@partial(jax.jit, static_argnames="lm", donate_argnames="moving")
@full_precision
def _follow(lm, origin, moving, batch, rate, decay):
    """Score a segment; return what has moved, and the log-probabilities under what had."""
    floating, fixed = partition(moving.params)

    def loss(floating):
        params = combine(floating, fixed)
        final, logp = log_prob(lm, params, moving.state, batch.inputs, batch.targets)
        return -jnp.where(batch.mask, logp, 0).sum() / batch.mask.sum(), (logp, final)

    gradient, (logp, final) = jax.grad(loss, has_aux=True)(floating)
    rate /= jnp.maximum(1, optax.tree.norm(gradient))
    step = lambda p, g, p_0: p - rate * g + decay * (p_0 - p)
    moved = jax.tree.map(step, floating, gradient, partition(origin)[0])
    return _Moving(combine(moved, fixed), final), logp
