"""Dynamic evaluation: a model that is trained on the text that it is scored on, as it goes."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmjax.data import contiguous
from lmjax.metrics.perplexity import Perplexity, summary
from lmjax.metrics.signature import signature
from lmjax.models import LanguageModel, log_prob
from lmjax.precision import full_precision

__all__ = ["dynamic_perplexity"]


class _Moving(NamedTuple):
    params: object
    opt: object
    state: object


def dynamic_perplexity(
    lm: LanguageModel,
    params,
    ids: np.ndarray,
    *,
    start: int,
    unknown: int = -1,
    transform: optax.GradientTransformation | None = None,
    seq_len: int = 16,
    decay: float = 0.0,
    **fields,
) -> Perplexity:
    """Return the perplexity of a stream under parameters that follow it.

    Each segment of `seq_len` tokens is scored, then the parameters take a step on it:

        theta <- theta + update(gradient of the segment's mean loss) + decay (theta_0 - theta)

    No token is scored under parameters that have seen it. The model learns from the text that it is
    scored on: its perplexity stands beside those of models that do the same, never among others.

    Args:
        lm: the model.
        params: theta_0; they are not changed.
        ids: int `[N]`, all of which are scored.
        start: the token before the first.
        unknown: the token of unknown words; none by default.
        transform: optax transformation of the gradient, default plain gradient descent at 0.1 with
            gradients clipped at a norm of 1.
        seq_len: tokens of a segment, and how far gradients flow back.
        decay: how far each step goes back to theta_0, from 0 to 1.
        **fields: what the signature shall name besides.

    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=3)
    >>> params, ids = lm.init(jax.random.key(0)), np.zeros(400, int)
    >>> result = dynamic_perplexity(lm, params, ids, start=0, transform=optax.sgd(1.0))
    >>> result.perplexity < 1.5  # 3 without a step
    True

    Raises:
        ValueError: the stream is empty, or `decay` is not from 0 to 1.

    References: Mikolov, Karafiat, Burget, Cernocky and Khudanpur (2010); Krause, Kahembwe, Murray
    and Renals (2018).
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay: must be from 0 to 1, got {decay}")
    begin = time.perf_counter()
    default = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    transform = default if transform is None else transform
    moving = _Moving(params, transform.init(params), lm.cell.initial_state(params.cell, (1,)))
    moving = jax.tree.map(jnp.copy, moving)  # `_follow` donates them
    parts = []
    for batch in contiguous(ids, batch_size=1, seq_len=seq_len, start=start):
        moving, logp = _follow(lm, transform, params, moving, batch, decay)
        parts.append(logp)
    logp = np.concatenate(jax.device_get(parts)).ravel()[: len(ids)]
    text = signature(**fields, tokens=len(ids), dynamic=f"{seq_len}/{decay:g}")
    seconds = time.perf_counter() - begin
    return summary(logp, np.asarray(ids) == unknown, seconds=seconds, signature=text)


@partial(jax.jit, static_argnames=("lm", "transform"), donate_argnames="moving")
@full_precision
def _follow(lm, transform, origin, moving, batch, decay):
    """Score a segment; return what has moved, and the log-probabilities under what had."""

    def loss(params):
        final, logp = log_prob(lm, params, moving.state, batch.inputs, batch.targets)
        return -jnp.where(batch.mask, logp, 0).sum() / batch.mask.sum(), (logp, final)

    gradient, (logp, final) = jax.grad(loss, has_aux=True)(moving.params)
    updates, opt = transform.update(gradient, moving.opt, moving.params)
    params = optax.apply_updates(moving.params, updates)
    back = jax.tree.map(lambda p, p_0: p + decay * (p_0 - p), params, origin)
    return _Moving(back, opt, final), logp
