"""Suggestions for the next word: the lecture's autocomplete."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from lmjax.checks import check_positive
from lmjax.decoding.prompt import read_prompt
from lmjax.models import LanguageModel, next_log_probs

__all__ = ["suggest"]


def suggest(lm: LanguageModel, params, prompt, *, count: int = 5) -> list[tuple[int, float]]:
    """Return the `count` most probable next words with their probabilities.

    >>> import jax
    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> words = suggest(lm, lm.init(jax.random.key(0)), [1, 2], count=10)
    >>> round(sum(p for _, p in words), 4)
    1.0

    Raises:
        ValueError: `count` is below 1, the prompt is empty, or a token is not in the vocabulary.
    """
    check_positive(count=count)
    logp = next_log_probs(lm, params, read_prompt(lm, params, prompt))
    values, ids = lax.top_k(logp, min(count, logp.shape[-1]))
    return [(int(i), float(jnp.exp(v))) for i, v in zip(ids, values, strict=True)]
