"""Mixtures of language models: their distributions averaged with fixed weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lmjax.cell import Cell
from lmjax.factory import factory
from lmjax.heads import Head
from lmjax.models.language_model import LanguageModel, Params, vocab_size

__all__ = ["Mixture", "join", "mixture", "mixture_weights"]


class Mixture(NamedTuple):
    """Parameters of a mixture's head."""

    weights: jax.Array  # [M]  lambda, at least 0, sum 1
    heads: tuple[Any, ...]  # the parameters of the models' heads


@factory
def mixture(*lms: LanguageModel) -> LanguageModel:
    """Return the mixture of M language models over one vocabulary.

        P(x_{t+1} | x_1..x_t) = sum_m lambda_m P_m(x_{t+1} | x_1..x_t)

    The models may be of any kind; each keeps its own state. `init` weighs them equally; `join` the
    parameters of trained ones, with weights from `mixture_weights`.

    >>> from lmjax import cells, models
    >>> rnn = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> lm = mixture(rnn, models.ngram.ngram(10, 3, eos=0))
    >>> params = lm.init(jax.random.key(0))
    >>> logp = models.next_log_probs(lm, params, lm.cell.initial_state(params.cell))
    >>> float(jnp.exp(logp).sum().round(5))
    1.0

    Raises:
        ValueError: there is no model, or their vocabularies have different sizes.

    References: Jelinek and Mercer (1980); Mikolov, Karafiat, Burget, Cernocky and Khudanpur (2010).
    """
    if not lms:
        raise ValueError("mixture: at least one model, got none")
    sizes = [vocab_size(lm, jax.eval_shape(lm.init, jax.random.key(0))) for lm in lms]
    if len({*sizes}) > 1:
        raise ValueError(f"mixture: the models must have one vocabulary, got sizes {sizes}")

    def init(key) -> Params:
        parts = [lm.init(k) for lm, k in zip(lms, jax.random.split(key, len(lms)), strict=True)]
        return join(parts, jnp.full(len(lms), 1 / len(lms)))

    def combine(name, params, y, *token):
        logp = [
            getattr(lm.head, name)(Params(*part), y_m, *token)
            for lm, y_m, *part in zip(
                lms, y, params.embed, params.cell, params.head.heads, strict=True
            )
        ]
        return jax.nn.logsumexp(jnp.stack(logp, -1), -1, b=params.head.weights)

    def each(name, *arguments):
        return tuple(
            getattr(lm.cell, name)(*args) for lm, *args in zip(lms, *arguments, strict=True)
        )

    cell = Cell(
        init=lambda key: init(key).cell,
        initial_state=lambda params, batch_shape=(): each(
            "initial_state", params, [batch_shape] * len(lms)
        ),
        step=lambda params, state, x: each("step", params, state, x),
        encode=lambda params, xs: each("encode", params, xs),
        read=lambda params, states: each("read", params, states),
    )
    head = Head(
        init=lambda key: init(key).head,
        log_probs=lambda params, y: combine("log_probs", params, y),
        log_prob=lambda params, y, token: combine("log_prob", params, y, token),
        loss=lambda params, y, token, key: -combine("log_prob", params, y, token),
    )
    embed = lambda params, tokens: tuple(
        lm.embed(p, tokens) for lm, p in zip(lms, params, strict=True)
    )
    return LanguageModel(init, embed, cell, head)


def join(parts, weights) -> Params:
    """Return the parameters of a mixture from those of its models and its weights `[M]`."""
    embed, cell, heads = zip(*parts, strict=True)
    return Params(embed, cell, Mixture(jnp.asarray(weights), heads))


def mixture_weights(logp, *, steps: int = 100):
    """Return the weights under which a text is most probable, by expectation maximisation.

        lambda_m <- 1/T sum_t lambda_m P_m(x_t) / sum_k lambda_k P_k(x_t)

    Args:
        logp: `[M, T]` log-probability of each token of a held-out text under each model.
        steps: how many iterations.

    Returns:
        `[M]`.

    >>> mixture_weights(jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.1]]))).round(3).tolist()
    [1.0, 0.0]

    References: Dempster, Laird and Rubin (1977); Jelinek and Mercer (1980).
    """

    def update(weights, _):
        return jax.nn.softmax(jnp.log(weights)[:, None] + logp, axis=0).mean(1), None

    return lax.scan(update, jnp.full(len(logp), 1 / len(logp), logp.dtype), length=steps)[0]
