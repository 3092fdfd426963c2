"""Translations of sentences by a trained model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from lmjax.checks import check_positive
from lmjax.data.parallel import bucketed
from lmjax.decoding.beam import Hypotheses, beam_search, greedy
from lmjax.models.translation import Translator, given
from lmjax.precision import full_precision

__all__ = ["Translation", "translate"]


class Translation(NamedTuple):
    """A translation, its end not included."""

    ids: list[int]
    logp: float  # log P of its words and of its end
    score: float  # by which a beam ranks it, see `beam_search`


def translate(
    model: Translator,
    params,
    sources: Sequence[Sequence[int]],
    *,
    end: int,
    size: int = 5,
    alpha: float = 0.6,
    tokens: int = 1000,
    report: Callable[[int, int], None] | None = None,
) -> list[list[Translation]]:
    """Translate sentences; return the best translations of each, the best first.

    One is at most twice as long as the sentence, and eight words.

    Args:
        model: the translator.
        params: its parameters.
        sources: ids of each sentence, with its end.
        end: the id that begins and ends a translation.
        size: K of the beam, and how many translations there are at most; 1 takes the most probable
            word each time.
        alpha: how far long translations are spared, see `beam_search`.
        tokens: how many source tokens a batch holds, padding included; affects memory and speed
            alone.
        report: is told `(done, total)` sentences after each batch.
    """
    check_positive(size=size)
    pairs = [(source, (end,)) for source in sources]
    found: list[list[Translation]] = [[] for _ in pairs]
    how, done = {"size": size, "alpha": alpha, "end": end}, 0
    for which, batch in bucketed(pairs, tokens=tokens):
        read = batch.source, batch.source_mask
        words, logp, score = map(np.asarray, _search(model, params, *read, **how))
        for column, i in enumerate(which):
            for k in range(size if i >= 0 else 0):
                if logp[k, column] > -np.inf:
                    ids = words[k, column].tolist()
                    ids = ids[: ids.index(end)] if end in ids else ids
                    numbers = float(logp[k, column]), float(score[k, column])
                    found[i].append(Translation(ids, *numbers))
        done += int((which >= 0).sum())
        if report is not None:
            report(done, len(pairs))
    return found


@partial(jax.jit, static_argnames=("model", "size"))
@full_precision
def _search(model: Translator, params, source, mask, *, end, size, alpha) -> Hypotheses:
    target, state = given(model, params, source, mask)
    how = {"start": end, "end": end, "length": 2 * len(source) + 8}
    if size == 1:
        return greedy(model.target, target, state, **how)
    return beam_search(model.target, target, state, **how, size=size, alpha=alpha)
