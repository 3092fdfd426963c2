"""A language model is an embedding, a cell and a head; scoring and loss are written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.checks import fitting
from lmjax.heads import Head
from lmjax.ids import is_word
from lmjax.models.regularisation import (
    Dropout,
    Penalties,
    drop_recurrent,
    drop_words,
    locked,
    penalised,
)
from lmjax.unroll import check_arguments, layer_by_layer, unroll

__all__ = [
    "LanguageModel",
    "Params",
    "log_prob",
    "lookup",
    "lookup_with_tokens",
    "loss",
    "next_log_probs",
    "rows",
    "states",
    "vocab_size",
]


class Params(NamedTuple):
    """Parameters of a language model, one entry a part; `()` for a part that has none."""

    embed: Any
    cell: Any
    head: Any


class LanguageModel(NamedTuple):
    """P(x_{t+1} | x_1..x_t) = head(read(s_t)),   s_t = step(s_{t-1}, encode(embed(x))_t).

    Static under jit: equal arguments to a model's factory give an equal model.
    """

    init: Callable  # key -> Params
    embed: Callable  # params.embed, tokens[...] -> x[...]
    cell: Cell  # over x, with params.cell
    head: Head  # over read(s_t), with the whole params
    dropout: Dropout = Dropout()
    penalties: Penalties = Penalties()
    segment: int | None = None  # of `unroll` in training: for long sequences
    dtype: Any = None  # of the parameters within the training loss: half precision


def lookup(embed, tokens):
    """Embed tokens `[...]` as rows `[..., n]` of a table `[V, n]`, NaN where it has none.

    Differentiated as `unroll` is: reverse mode, and any mode over that.

    >>> lookup(jnp.ones((2, 1)), jnp.array([1, 2, -1])).ravel().tolist()
    [1.0, nan, nan]
    """
    tokens = _outside_last(embed, tokens)
    return _lookup(embed, tokens) if isinstance(embed, jax.Array) else embed.take(tokens, axis=0)


def rows_at(embed, tokens):
    """Do what `lookup` does, differentiated in any mode."""
    return embed.take(_outside_last(embed, tokens), axis=0)


def _outside_last(embed, tokens):
    """Return tokens, V for those that are no words: -1 is not the last row."""
    return jnp.where(is_word(tokens, len(embed)), tokens, len(embed))


@jax.custom_vjp
def _lookup(embed, tokens):
    return embed.take(tokens, axis=0)


def _lookup_backward(kept, ct):
    """Add up the rows' gradients in zeros that XLA cannot make early and then hold."""
    embed, tokens = kept
    zero = (ct.ravel()[:1] > jnp.inf).sum().astype(ct.dtype)
    return jnp.broadcast_to(zero, embed.shape).at[tokens].add(ct), None


_lookup.defvjp(
    lambda embed, tokens: (embed.take(tokens, axis=0), (embed, tokens)), _lookup_backward
)


def lookup_with_tokens(embed, tokens):
    """Return `(lookup(embed, tokens), tokens)`: for a cell that reads both."""
    return lookup(embed, tokens), tokens


def states(lm: LanguageModel, params: Params, state, tokens):
    """Read tokens `[T, ...]` from state s_0 on; return `(final, states)` as `unroll` does."""
    return unroll(lm.cell, params.cell, state, lm.embed(params.embed, tokens))


def log_prob(lm: LanguageModel, params: Params, state, tokens, targets):
    """Score: log P(targets_t | tokens_1..t), exact, natural log.

    Args:
        lm: the model.
        params: its parameters.
        state: s_0, e.g. `lm.cell.initial_state(params.cell, (B,))`.
        tokens: int `[T, B]` (or `[T]`): the inputs.
        targets: int of the same shape: the token that follows each input.

    Returns:
        `(final, logp)`: the last state, to carry on with, and the log-probabilities `[T, B]`.
    """
    final, all_states = states(lm, params, state, tokens)
    return final, lm.head.log_prob(params, lm.cell.read(params.cell, all_states), targets)


def loss(lm: LanguageModel, params: Params, state, tokens, targets, key):
    """Return `(final, losses[T, B])` for training: the head's loss, not averaged.

    Arguments as in `log_prob`; `key` draws the dropout masks and a sampled head's samples.
    Penalties are in the gradient, not in the value: see `Penalties`.

    With `lm.dtype` the products are made in that precision and added up in float32; parameters,
    states, losses and gradients stay float32. In bfloat16 the gradient is off by about one per
    cent.
    """
    if lm.dtype is not None:
        params = jax.tree.map(
            lambda x: x.astype(lm.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, params
        )
    rate, (keys, k_head) = lm.dropout, _keys(key)
    x = drop_words(keys.embedding, rate.embedding, lm.embed(params.embed, tokens), tokens)
    x = locked(keys.input, rate.input, x)
    weights = drop_recurrent(keys.recurrent, rate.recurrent, params.cell)
    final, all_states = _unroll(lm, weights, state, x, keys.between)
    y = lm.cell.read(weights, all_states)
    dropped = locked(keys.output, rate.output, y)
    losses = lm.head.loss(params, dropped, targets, k_head)
    return final, penalised(lm.penalties, losses, y, dropped)


def _keys(key):
    """Return the keys of the masks, and the head's."""
    # what came later stands last: the others keep their numbers
    *masks, k_head, embedding, between = jax.random.split(key, 6)
    return Dropout(*masks, embedding, between), k_head


def _unroll(lm, weights, state, x, key):
    """Run the cell in training, with dropout between the layers of a stack."""
    if not lm.dropout.between:
        return unroll(lm.cell, weights, state, x, segment=lm.segment)

    def drop(k, y):
        return locked(jax.random.fold_in(key, k), lm.dropout.between, y)

    return layer_by_layer(unroll, lm.cell, weights, state, x, between=drop, segment=lm.segment)


def rows(lm: LanguageModel, tokens, targets, key) -> Params:
    """Return the ids of the rows that `loss` reads of each part, `...` for the whole part."""
    if lm.head.rows is None:
        return Params(..., ..., ...)
    _, k_head = _keys(key)
    of_head = lm.head.rows(targets, k_head)
    of_embed = jnp.concatenate([tokens.ravel(), of_head]) if lm.head.shares_embedding else tokens
    by_row = lm.embed in (lookup, lookup_with_tokens)
    return Params(of_embed if by_row else ..., ..., of_head)


def next_log_probs(lm: LanguageModel, params: Params, state):
    """Return log P(w | s) for every word w, `[..., V]`."""
    return lm.head.log_probs(params, lm.cell.read(params.cell, state))


def vocab_size(lm: LanguageModel, params: Params) -> int:
    """Return V, by the shapes alone: nothing is computed, and nothing compiled.

    Raises:
        ValueError: the parts of the model, or the parameters, do not fit each other.

    >>> from lmjax import cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> vocab_size(lm, jax.eval_shape(lm.init, jax.random.key(0)))
    10
    """
    return _after_one.eval_shape(lm, params).shape[-1]


@partial(jax.jit, static_argnames="lm")
def _after_one(lm, params):
    """Return the distribution after one token, part by part."""
    with fitting("model: the embedding takes no tokens"):
        x = lm.embed(params.embed, jnp.zeros(1, jnp.int32))
    with fitting(f"model: the cell does not take the embedding's {_vectors(x)}"):
        state = lm.cell.initial_state(params.cell)
        check_arguments(lm.cell, params.cell, state, x, None)
        y = lm.cell.read(params.cell, state)
    with fitting(f"model: the head does not take the cell's {_vectors(y)}"):
        return lm.head.log_probs(params, y)


def _vectors(tree):
    return "vectors of " + ", ".join(str(x.shape[-1]) for x in jax.tree.leaves(tree) if x.ndim)
