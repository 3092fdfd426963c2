"""The n-gram model as a language model: a cell that remembers n - 1 words, and a head."""

from __future__ import annotations

import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.heads import Head
from lmjax.ids import is_word, token_ids
from lmjax.models.language_model import LanguageModel, Params
from lmjax.models.ngram.lookup import log_prob_after, log_probs
from lmjax.models.ngram.model import Level, NGram

__all__ = ["ngram"]


@factory
def ngram(vocab_size: int, order: int, *, eos: int) -> LanguageModel:
    """Return the n-gram language model as an embedding, a cell and a head.

    The cell is a shift register: its state int32 `[n - 1]` holds the last words, counted from 1,
    and 0 at and before the start of the sentence. All that is estimated is the head's, an `NGram`:
    nothing is trained here, and `init` gives the uniform distribution.

    >>> from lmjax.models import next_log_probs
    >>> from lmjax.models.ngram import count, index, mle
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0)))
    >>> lm, params = ngram(4, 2, eos=0), Params((), (), model)
    >>> state = lm.cell.step((), lm.cell.initial_state(()), 1)
    >>> jnp.exp(next_log_probs(lm, params, state)).round(3).tolist()
    [0.0, 0.0, 0.5, 0.5]

    Raises:
        ValueError: a size is not positive, or `eos` is not in the vocabulary.
    """
    check_positive(vocab_size=vocab_size, order=order)
    token_ids("eos", [eos], vocab_size)

    def initial_state(params, batch_shape=()):
        return jnp.zeros((*batch_shape, order - 1), jnp.int32)

    def step(params, state, token):
        token = jnp.where(is_word(token, vocab_size), token, vocab_size)  # after it all is NaN
        word = jnp.asarray(token, jnp.int32)[..., None] + 1
        shifted = jnp.concatenate([state, word], -1)[..., 1:]
        return jnp.where(token[..., None] == eos, 0, shifted)

    def log_prob(params, history, token):
        return log_prob_after(params.head, history, token)

    head = Head(
        init=lambda key: _uniform(vocab_size, order, eos),
        log_probs=lambda params, history: log_probs(params.head, history),
        log_prob=log_prob,
        loss=lambda params, history, token, key: -log_prob(params, history, token),
    )
    cell = Cell(init=lambda key: (), initial_state=initial_state, step=step)
    return LanguageModel(
        init=lambda key: Params((), (), head.init(key)),
        embed=lambda params, tokens: tokens,
        cell=cell,
        head=head,
    )


def _uniform(vocab_size, order, eos) -> NGram:
    """Return the model of the uniform distribution, which holds the words and no longer n-grams."""
    uniform = jnp.full(vocab_size + 1, -jnp.log10(vocab_size), jnp.float32)
    none = jnp.zeros(0, jnp.int32)
    shift = jnp.zeros(1, jnp.int8)
    words = jnp.arange(vocab_size + 1, dtype=jnp.int32)
    unigrams = Level(jnp.array([0, vocab_size + 1], jnp.int32), (), words, uniform, 0 * uniform)
    bigrams = Level(jnp.zeros(vocab_size + 2, jnp.int32), shift, none, 0.0 * none, 0.0 * none)
    longer = bigrams._replace(first=jnp.zeros(1, jnp.int32))
    levels = (unigrams, bigrams, *[longer] * order)[:order]
    return NGram((*levels[:-1], levels[-1]._replace(log10b=())), jnp.int32(eos), jnp.float32(0))
