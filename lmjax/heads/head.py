"""The protocol of a head: a distribution over the next token given a feature vector."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Head"]


class Head(NamedTuple):
    """A distribution over the vocabulary as plain functions.

    All but `init` take the parameters of the whole model (`.embed`, `.cell`, `.head`), so that a
    head may share the embedding; its own are `params.head`. All broadcast over leading axes.

    A head with `rows` has a loss that reads nothing but these rows, by indexing, of every leaf of
    `params.head`, and of `params.embed` where it shares the embedding. Training updates no others.
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
