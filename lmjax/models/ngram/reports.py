"""The lecture's problems with n-grams in numbers: storage and sparsity."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from lmjax.models.ngram.lookup import matches
from lmjax.models.ngram.model import NGram

__all__ = ["Sparsity", "Storage", "sparsity", "storage"]


class Storage(NamedTuple):
    """What a model keeps, by length of n-gram."""

    ngrams: tuple[int, ...]
    bytes: tuple[int, ...]


class Sparsity(NamedTuple):
    """How much of a text a model has not seen, by length k of n-gram, as shares of the tokens."""

    tokens: int
    unseen_ngram: tuple[float, ...]  # the word was never seen after the k-1 words before it
    unseen_context: tuple[float, ...]  # these k-1 words were never seen themselves


def storage(model: NGram) -> Storage:
    """Count the n-grams and the bytes of a model, of each length.

    >>> from lmjax.models.ngram import count, index, mle
    >>> storage(index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))))
    Storage(ngrams=(5, 5), bytes=(68, 70))
    """
    sizes = (sum(leaf.nbytes for leaf in jax.tree.leaves(level)) for level in model.levels)
    return Storage(tuple(len(level.word) for level in model.levels), tuple(sizes))


def sparsity(model: NGram, tokens) -> Sparsity:
    """Measure which share of a text's n-grams, and of their contexts, is not in a model.

    The lecture's two sparsity problems: without smoothing the first share has probability 0, and
    for the second no probability can be computed at all. Near the start of a sentence the n-gram
    begins with `<s>`.

    Args:
        model: an n-gram model that was not pruned.
        tokens: int `[T]`.

    >>> from lmjax.models.ngram import count, index, mle
    >>> model = index(mle(count([1, 2, 0, 1, 3, 0], 3, size=4, eos=0)))
    >>> sparsity(model, np.array([2, 3, 0, 3, 1])).unseen_ngram
    (0.0, 0.8, 1.0)
    """
    tokens = np.asarray(tokens)
    length, possible = (np.asarray(x) for x in matches(model, tokens))
    context = np.concatenate([[0], np.where(tokens == model.eos, 0, length)[:-1]])
    context = np.maximum(context, np.minimum(possible - 1, 1))  # <s> alone is always there
    ngram, before = [], []
    for k in range(1, model.order + 1):
        here = np.minimum(possible, k)
        ngram.append(float((length < here).mean()))
        before.append(float((context < here - 1).mean()))
    return Sparsity(len(tokens), tuple(ngram), tuple(before))
