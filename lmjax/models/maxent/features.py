"""The protocol of features of a history: what they add to the logits of the words after it."""

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Features"]


class Features(NamedTuple):
    """Sums m_w = sum_f theta[f, w] over the features f of the last words, as plain functions.

    A history `[..., reach]` holds the last words, the latest last, and -1 where there is none.
    """

    vocab_size: int  # V
    reach: int  # how many words of the history are read
    init: Callable  # key -> params
    everywhere: Callable  # params, history -> m of all words [..., V]
    at: Callable  # params, history, token[...], drawn[K] -> m of these ([...], [..., K])
