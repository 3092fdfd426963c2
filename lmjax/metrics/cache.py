"""The perplexity of a model with a cache, whose settings are chosen on another text."""

from __future__ import annotations

import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lmjax.metrics.perplexity import Perplexity, Report, summary, token_features
from lmjax.metrics.signature import signature
from lmjax.models import LanguageModel, cache_log_prob, mixture_weights, with_cache

__all__ = ["CachePerplexity", "cache_perplexity"]

SHARPNESS = (0.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0)  # theta times the mean of |y|^2
VALID = 2**16  # tokens of the validation text that are looked at


class CachePerplexity(NamedTuple):
    """A model's perplexity with a cache and without."""

    alone: Perplexity
    cached: Perplexity
    theta: float  # how much alike features count in the cache
    weight: float  # lambda, of the cache


def cache_perplexity(
    lm: LanguageModel,
    params,
    ids: np.ndarray,
    *,
    valid: np.ndarray,
    size: int,
    start: int,
    unknown: int = -1,
    batch_size: int = 1,
    report: Report | None = None,
    **fields,
) -> CachePerplexity:
    """Return the perplexity of a stream under a model that is mixed with a cache of the last words.

        P(w | t) = (1 - lambda) P_model(w | t) + lambda P_cache(w | t)

    P_cache is that of `models.cache_log_prob`. Its theta and lambda are those under which the first
    65,536 tokens of a validation text are most probable: theta one of seven, from 0 (the unigram
    cache) to 24 over the mean of |y|^2, lambda the best for it. The cache holds words of the text
    that is scored: this perplexity stands beside those of models that do the same, never among
    others.

    Args:
        lm: the model; its features y must be one array.
        params: its parameters.
        ids: int `[N]`, all of which are scored.
        valid: int `[M]`, the validation text.
        size: of the cache, in words.
        start: the token before the first of either text.
        unknown: the token of unknown words; none by default.
        batch_size: how many sequences the model reads side by side.
        report: is told `(done, total)` tokens that the model has read.
        **fields: what the signatures shall name besides.

    >>> import jax
    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> params, ids = lm.init(jax.random.key(0)), np.tile([3, 1, 4], 100)
    >>> found = cache_perplexity(lm, params, ids, valid=ids, size=20, start=0)
    >>> found.cached.perplexity < 4 < found.alone.perplexity
    True

    Raises:
        ValueError: as for `perplexity`, or `size` is below 1, or the features are not one array.

    References: Kuhn and De Mori (1990); Grave, Joulin and Usunier (2017).
    """
    begin = time.perf_counter()
    held_out, scored = np.asarray(valid)[:VALID], np.asarray(ids)
    total = len(held_out) + len(scored)

    def read(text, before: int):
        tell = None if report is None else lambda done, _: report(before + done, total)
        return token_features(lm, params, text, start=start, batch_size=batch_size, report=tell)

    y, logp = read(held_out, 0)
    theta, weight = _chosen(y, logp, held_out, size)
    between = time.perf_counter()
    y, logp = read(scored, len(held_out))
    fields |= {"tokens": len(logp), "batch_size": batch_size}
    result = lambda logp, seconds, **more: summary(
        logp, scored == unknown, seconds=seconds, signature=signature(**fields, **more)
    )
    alone = result(logp, time.perf_counter() - between)
    mixed = np.asarray(with_cache(logp, cache_log_prob(y, scored, size=size, theta=theta), weight))
    used = {"cache": size, "theta": f"{theta:g}", "lambda": f"{weight:g}"}
    cached = result(mixed, time.perf_counter() - begin, **used)
    return CachePerplexity(alone, cached, theta, weight)


def _chosen(y, logp, ids, size: int) -> tuple[float, float]:
    """Return the best theta and lambda for a text, to three digits, as a signature names them."""
    found = []
    norm = np.square(y).sum(-1).mean() or 1.0
    for sharpness in SHARPNESS:
        theta = _rounded(sharpness / norm)
        cached = cache_log_prob(y, ids, size=size, theta=theta)
        weight = _rounded(mixture_weights(jnp.stack([logp, cached]))[1])
        found.append((-float(with_cache(logp, cached, weight).mean()), theta, weight))
    _, theta, weight = min(found)
    return theta, weight


def _rounded(number) -> float:
    return float(f"{float(number):.3g}")
