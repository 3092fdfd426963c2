"""Translation: a language model of the target, given an encoded source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.cells import Encoder
from lmjax.checks import check_positive
from lmjax.data.parallel import PairBatch
from lmjax.factory import factory
from lmjax.heads import Head, tied
from lmjax.models import language_model
from lmjax.models.language_model import LanguageModel, Params, lookup
from lmjax.models.regularisation import Dropout, locked
from lmjax.models.translation.attention import Attention, weights

__all__ = [
    "Given",
    "Source",
    "Translator",
    "attention_weights",
    "given",
    "log_prob",
    "loss",
    "of_source",
    "read",
    "translator",
]


class Source(NamedTuple):
    """Parameters of what reads the source."""

    embed: jax.Array  # [V_source, d]
    encoder: Any
    bridge: Any  # matrices [2 m, n], one for each leaf of the decoder's state


class Given(NamedTuple):
    """Parameters of the target's head: what is learned, and what the source gives it."""

    attention: Any
    w: jax.Array  # [n + m, d]  or [n, d] without attention
    b: jax.Array  # [V]
    memory: jax.Array | None = None  # [S, B, m]
    keys: jax.Array | None = None  # [S, B, k]
    mask: jax.Array | None = None  # bool [S, B]


class Translator(NamedTuple):
    """P(y_1..y_T | x_1..x_S), as an encoder of x and a language model of y.

    `given` reads a source, and hands the language model its parameters and first state: scoring,
    loss and generation are those of any other.
    """

    init: Callable  # key -> (Source, Params)
    encoder: Encoder
    attention: Attention | None
    target: LanguageModel


@factory
def translator(
    encoder: Encoder,
    cell: Cell,
    *,
    source_size: int,
    target_size: int,
    embedding_size: int,
    attention: Callable[[int, int], Attention] | None = None,
    dropout: Dropout = Dropout(),
    label_smoothing: float = 0.0,
) -> Translator:
    """Return the sequence-to-sequence model, with attention or without.

        v_1..v_S = encoder(E x_1..E x_S),    s_0 = tanh(LN([v_1; v_S] B))
        s_t = cell(s_{t-1}, F y_{t-1}),      h_t = read(s_t)
        a_t = softmax_j score(h_t, v_j),     c_t = sum_j a_tj v_j
        P(y_t) = softmax(F tanh([h_t; c_t] W) + b)

    The recurrence does not see c_t, so that a sentence's attention is computed at once for all t.
    LN(z) = (z - mean z) / std z, over the entries of one vector: what all sentences have in common
    is learned first, and would else drive tanh to its ends, where no gradient comes through.

    Args:
        encoder: of the source; it reads vectors of size `embedding_size`.
        cell: of the target, as the encoder.
        source_size: words of the source's vocabulary.
        target_size: words of the target's vocabulary.
        embedding_size: d, of E and F.
        attention: `luong`, `additive`, or another function of the sizes of h and v; None: W sees
            h_t alone, and all that is known of the source is in s_0.
        dropout: rates for training, of both embeddings (`input`), of h_t (`output`) and of the
            cell's W_h (`recurrent`).
        label_smoothing: share of the uniform distribution in what training aims at.

    Raises:
        ValueError: a size is not positive, a rate not in [0, 1), or the parts do not fit.

    References: Sutskever, Vinyals and Le (2014); Bahdanau, Cho and Bengio (2015); Luong, Pham and
    Manning (2015); Ba, Kiros and Hinton (2016) for LN; Szegedy, Vanhoucke, Ioffe, Shlens and Wojna
    (2016) for label smoothing.
    """
    check_positive(source_size=source_size, target_size=target_size, embedding_size=embedding_size)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing: must be in [0, 1), got {label_smoothing}")
    d = embedding_size
    table = lambda key, size: jax.random.uniform(key, (size, d), minval=-0.1, maxval=0.1)

    def sizes(key):
        v = encoder.encode(encoder.init(key), jnp.zeros((1, 1, d)))
        params = cell.init(key)
        state = cell.initial_state(params)
        return v, state, cell.read(params, state)

    v, first, h = jax.eval_shape(sizes, jax.random.key(0))
    n, m = h.shape[-1], v.shape[-1]
    attend = None if attention is None else attention(n, m)

    def init(key):
        k_source, k_encoder, k_bridge, k_target, k_cell, k_attention, k_w = jax.random.split(key, 7)
        leaves, tree = jax.tree.flatten(first)
        keys = jax.random.split(k_bridge, len(leaves))
        matrix = lambda key, rows, columns: jax.random.normal(key, (rows, columns)) * rows**-0.5
        bridge = [matrix(k, 2 * m, x.shape[-1]) for k, x in zip(keys, leaves, strict=True)]
        source = Source(
            table(k_source, source_size), encoder.init(k_encoder), jax.tree.unflatten(tree, bridge)
        )
        width = n if attend is None else n + m
        of_attention = () if attend is None else attend.init(k_attention)
        head = Given(of_attention, matrix(k_w, width, d), jnp.zeros(target_size))
        return source, Params(table(k_target, target_size), cell.init(k_cell), head)

    head = _attending(attend, target_size, label_smoothing, lambda key: init(key)[1].head)
    target = LanguageModel(lambda key: init(key)[1], lookup, cell, head, dropout)
    return Translator(init, encoder, attend, target)


def _attending(attend: Attention | None, size: int, label_smoothing: float, init) -> Head:
    """Return the head that looks at the source, and is the full softmax with weights F."""
    full = tied(size)

    def features(params, h):
        given: Given = params.head
        if attend is not None:
            a = weights(attend, given.attention, h, given.keys, given.mask)
            h = jnp.concatenate([h, jnp.einsum("...bs,sbm->...bm", a, given.memory)], -1)
        return Params(params.embed, (), given.b), jnp.tanh(h @ given.w)

    def loss(params, h, token, key):
        params, y = features(params, h)
        nll = full.loss(params, y, token, key)
        if not label_smoothing:
            return nll
        # the mean of log P over all words takes no logits but the target's
        mean, b = params.embed.mean(0), params.head.mean()
        own = (y * params.embed[token]).sum(-1) + params.head[token]
        return nll + label_smoothing * (own - (y @ mean + b))

    return Head(
        init=init,
        log_probs=lambda params, h: full.log_probs(*features(params, h)),
        log_prob=lambda params, h, token: full.log_prob(*features(params, h), token),
        loss=loss,
    )


def given(model: Translator, params, source, mask) -> tuple[Params, Any]:
    """Read a source; return the target's parameters and first state, for `model.target`.

        v_1..v_S = encoder(E x_1..E x_S),    s_0 = tanh(LN([v_1; v_S] B))

    Args:
        model: the translator.
        params: pair of `Source` and `Params`.
        source: int `[S, B]`.
        mask: bool `[S, B]`, True at the words of each sentence, one at least; padding behind them.
    """
    of_source, target = params
    return read(model, of_source, target, lookup(of_source.embed, source), mask)


def read(model: Translator, of_source: Source, target: Params, x, mask):
    """Do what `given` does with the words' vectors `x` `[S, B, d]`."""
    memory = model.encoder.encode(of_source.encoder, x, mask)
    last = jnp.maximum(mask.sum(0) - 1, 0)
    ends = jnp.concatenate([memory[0], memory[last, jnp.arange(len(last))]], -1)
    state = jax.tree.map(lambda w: jnp.tanh(jax.nn.standardize(ends @ w)), of_source.bridge)
    head = target.head._replace(memory=memory, mask=mask)
    if model.attention is not None:
        head = head._replace(keys=model.attention.keys(head.attention, memory))
    return target._replace(head=head), state


def log_prob(model: Translator, params, batch: PairBatch) -> jax.Array:
    """Return log P(y_t | y_1..y_{t-1}, x) of a batch's targets, `[T, B]`; of padding anything."""
    target, state = given(model, params, batch.source, batch.source_mask)
    return language_model.log_prob(model.target, target, state, batch.inputs, batch.targets)[1]


def loss(model: Translator, params, batch: PairBatch, key) -> jax.Array:
    """Return the losses `[T, B]` for training, not averaged; `key` draws the dropout masks."""
    of_source, target = params
    k_source, k_target = jax.random.split(key)
    x = locked(k_source, model.target.dropout.input, lookup(of_source.embed, batch.source))
    target, state = read(model, of_source, target, x, batch.source_mask)
    words = batch.inputs, batch.targets
    return language_model.loss(model.target, target, state, *words, k_target)[1]


def of_source(model: Translator, params, source, target):
    """Return one translation as functions of its source, for `analysis.source_gradients`.

    Args:
        model: the translator.
        params: its parameters.
        source: ids `[S]`, with the end.
        target: ids `[T]`, with the end, which begins it as well.

    Returns:
        `(read, losses, xs)`: xs -> (what attention reads, the first state); these -> the loss of
        each word, `[T]`; the vectors of the source's words `[S, d]`.
    """
    of_source, words = params
    source, target = (jnp.asarray(ids, jnp.int32) for ids in (source, target))
    mask, targets = jnp.ones((len(source), 1), bool), target[:, None]
    inputs = jnp.roll(targets, 1)

    def read_source(xs):
        given, state = read(model, of_source, words, xs[:, None], mask)
        return (given.head.memory, given.head.keys), state

    def losses(memory_and_keys, state):
        memory, keys = memory_and_keys
        head = words.head._replace(memory=memory, keys=keys, mask=mask)
        given = words._replace(head=head)
        return -language_model.log_prob(model.target, given, state, inputs, targets)[1][:, 0]

    return read_source, losses, lookup(of_source.embed, source)


def attention_weights(model: Translator, params, batch: PairBatch) -> jax.Array:
    """Return a_t, how much each word of the source counts for each of the target: `[T, B, S]`.

    Raises:
        ValueError: the model has no attention.
    """
    if model.attention is None:
        raise ValueError("attention_weights: the model has no attention")
    target, state = given(model, params, batch.source, batch.source_mask)
    _, all_states = language_model.states(model.target, target, state, batch.inputs)
    h, head = model.target.cell.read(target.cell, all_states), target.head
    return weights(model.attention, head.attention, h, head.keys, head.mask)
