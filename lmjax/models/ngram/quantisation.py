"""Quantisation: log-probabilities and backoff weights in 8 bits."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from lmjax.models.ngram.model import NGram, Quantised

__all__ = ["quantise"]


def quantise(model: NGram) -> NGram:
    """Return the model with every log-probability and backoff weight in 8 bits.

    The unigrams keep theirs. The values of each length are cut by rank into 255 equal bins, each of
    which becomes its mean; 0 stays 0, and where there is -inf it has the last bin for itself.

    >>> from lmjax.models.ngram import count, index, mle
    >>> model = quantise(index(mle(count([1, 2, 0, 1, 3, 0], 2, size=4, eos=0))))
    >>> model.levels[1].log10p.code.dtype
    dtype('uint8')

    References: Federico and Bertoldi (2006).
    """
    unigrams, *longer = model.levels
    levels = (
        level._replace(log10p=_binned(level.log10p), log10b=_binned(level.log10b))
        for level in longer
    )
    return model._replace(levels=(unigrams, *levels))


def _binned(values):
    """Return values as indices into a table of the bins' means."""
    values = np.asarray(values)
    if not len(values):
        return ()
    none = values == -np.inf
    order = np.flatnonzero((values != 0) & ~none)
    order = order[np.argsort(values[order])]
    code = np.where(none, 255, 0).astype(np.uint8)
    code[order] = 1 + np.arange(len(order)) * (255 - none.any()) // len(order)
    sizes = np.bincount(code, minlength=256)
    table = np.bincount(code, values, 256) / np.maximum(sizes, 1)
    return Quantised(jnp.asarray(code), jnp.asarray(table, jnp.float32))
