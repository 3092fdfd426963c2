"""The protocol of a head: a distribution over the next token given a feature vector."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Embedding", "Head", "check_targets"]


class Embedding(NamedTuple):
    """Word vectors in another form than one table `[V, n]`, as a pair of functions."""

    init: Callable  # key -> params.embed
    lookup: Callable  # params.embed, tokens[...] -> x[..., n], NaN where a token is no word


class Head(NamedTuple):
    """A distribution over the vocabulary as plain functions.

    A token outside the vocabulary has the log-probability NaN and the loss NaN, and so has their
    derivative. A masked loss, as that of padding, adds nothing to a gradient, whatever its token.

    All but `init` take the parameters of the whole model (`.embed`, `.cell`, `.head`), so that a
    head may share the embedding; its own are `params.head`. All broadcast over leading axes.

    A head with `rows` has a loss that reads nothing but these rows, by indexing, of every leaf of
    `params.head`, and of `params.embed` where it shares the embedding. Training updates no others.
    For use in `models.maxent` that loss takes a fifth argument, a function
    `(token, drawn[K]) -> ([...], [..., K])`: what is added to the logits of the targets and to
    those of the words drawn.
    `lmjax.testing.check_head` checks these laws.
    """

    init: Callable  # key -> params.head
    log_probs: (
        Callable  # params, y[..., n] -> [..., V]            the whole distribution: generation
    )
    log_prob: Callable  # params, y[..., n], token[...] -> [...]    exact: scoring
    loss: Callable  # params, y, token, key -> [...]                training; may be sampled
    rows: Callable | None = (
        None  # token, key -> ids[M]            of a sampled loss; None: the loss is -log_prob
    )
    shares_embedding: bool = False  # whether the head's rows are those of params.embed
    embedding: Embedding | None = None  # the form of params.embed; None: a table [V, n]


def check_targets(y, token) -> None:
    """Raise a ValueError where features `[..., n]` and tokens `[...]` disagree on their shape.

    Broadcast against each other they would give every position the tokens of others.
    """
    if y.shape[:-1] != token.shape:
        raise ValueError(
            f"token: must have shape {y.shape[:-1]} as the features, got {token.shape}"
        )
