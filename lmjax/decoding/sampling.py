"""Sampling text from a language model: temperature, top-k, top-p, greedy."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lmjax.checks import real, whole
from lmjax.decoding.prompt import advance, read_prompt
from lmjax.ids import token_ids
from lmjax.models import LanguageModel, next_log_probs, vocab_size

__all__ = ["generate", "truncate"]


def generate(
    lm: LanguageModel,
    params,
    prompt,
    key,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    exclude: tuple[int, ...] = (),
) -> np.ndarray:
    """Sample the `length` tokens that follow a prompt.

    Args:
        lm: the model.
        params: its parameters.
        prompt: int `[N]`, at least one token (the start token where there is no text).
        key: random key.
        length: how many tokens.
        temperature: divides the log-probabilities; 0 takes the most probable word each time
            (greedy).
        top_k: sample among the k most probable words only.
        top_p: sample among the fewest most probable words that hold this much probability
            (nucleus).
        exclude: ids that are never produced, e.g. `(vocab.unk,)`.

    Returns:
        int32 `[length]`.

    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> params = lm.init(jax.random.key(0))
    >>> generate(lm, params, [1], jax.random.key(1), length=5, exclude=(0,)).shape
    (5,)

    Raises:
        ValueError: an option is out of its range, a token is not in the vocabulary, the prompt is
            empty, or `exclude` leaves no word.

    References: Holtzman, Buys, Du, Forbes and Choi (2020) for top-p.
    """
    size = vocab_size(lm, params)
    if whole("length", length) < 0:
        raise ValueError(f"length: must be at least 0, got {length}")
    if not 0 <= real("temperature", temperature) < math.inf:
        raise ValueError(f"temperature: must be at least 0 and finite, got {temperature}")
    excluded = frozenset(token_ids("exclude", list(exclude), size).tolist())
    if len(excluded) == size:
        raise ValueError(f"exclude: must leave a word, got all {size}")
    top_k = None if top_k is None else whole("top_k", top_k)
    top_p = None if top_p is None else real("top_p", top_p)
    state = read_prompt(lm, params, prompt)
    return np.asarray(
        _sample(lm, params, state, key, int(length), temperature, top_k, top_p, (*excluded,))
    )


def truncate(logits, *, top_k: int | None = None, top_p: float | None = None):
    """Set to -inf the logits `[..., V]` that top-k or top-p leaves out; the largest always stays.

    >>> truncate(jnp.log(jnp.array([0.5, 0.3, 0.2])), top_p=0.6).tolist()[2]
    -inf

    Raises:
        ValueError: `top_k` is below 1, or `top_p` is not in (0, 1].
    """
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: must be in (0, 1], got {top_p}")
    order = jnp.argsort(-logits, axis=-1)
    place = jnp.argsort(order, axis=-1)  # 0 for the most probable
    keep = jnp.ones_like(logits, bool)
    if top_k is not None:
        keep &= place < top_k
    if top_p is not None:
        p = jnp.take_along_axis(jax.nn.softmax(logits, -1), order, -1)
        before = jnp.cumsum(p, -1) - p  # the mass of all that is more probable
        keep &= jnp.take_along_axis(before, place, -1) < top_p
    return jnp.where(keep, logits, -jnp.inf)


@partial(jax.jit, static_argnames=("lm", "length", "top_k", "top_p", "exclude"))
def _sample(lm, params, state, key, length, temperature, top_k, top_p, exclude):
    def draw(state, key):
        logits = next_log_probs(lm, params, state).at[jnp.array(exclude, int)].set(-jnp.inf)
        warm = truncate(
            logits / jnp.where(temperature > 0, temperature, 1), top_k=top_k, top_p=top_p
        )
        token = jnp.where(
            temperature > 0, jax.random.categorical(key, warm), jnp.argmax(logits)
        ).astype(jnp.int32)
        return advance(lm, params, state, token[None]), token

    return lax.scan(draw, state, jax.random.split(key, length))[1]
