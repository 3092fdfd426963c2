"""What is measured of a trained model: its perplexity, alone and with what it picks up reading."""

from __future__ import annotations

from typing import Any, NamedTuple

import lmjax.data as data
import lmjax.metrics as metrics
from lmjax.cli.measuring import sentence
from lmjax.cli.terminal import called, counting, say
from lmjax.metrics import Perplexity

__all__ = ["Measured", "measure", "told"]


class Measured(NamedTuple):
    """The perplexity of a model alone, and of the same as it learns from the text that it reads."""

    alone: Perplexity
    with_cache: Perplexity | None = None
    dynamic: Perplexity | None = None


def measure(
    lm,
    params,
    text: data.Corpus,
    split: str,
    *,
    seed: int,
    batch_size: int = 1,
    valid=None,
    cache: int | None = None,
    dynamic: bool = False,
) -> Measured:
    """Measure a model on a split: alone, with a cache of so many words, and by dynamic evaluation.

    The settings of the latter two are chosen on `valid`, ids of a validation text.
    """
    ids = getattr(text, split)
    fields: dict[str, Any] = {"corpus": called(text), "split": split, "seed": seed}
    fields |= {"start": text.vocab.eos, "unknown": text.vocab.unk}
    with_cache = follows = None
    with counting(f"measuring {split} perplexity") as report:
        scored = {**fields, "batch_size": batch_size, "report": report}
        if cache is None:
            alone = metrics.perplexity(lm, params, ids, **scored)
        else:
            found = metrics.cache_perplexity(lm, params, ids, valid=valid, size=cache, **scored)
            alone, with_cache = found.alone, found.cached
    if dynamic:
        with counting("dynamic evaluation") as report:
            follows = metrics.dynamic_perplexity(
                lm, params, ids, valid=valid, report=report, **fields
            )
    if alone.oov and text.vocab.symbols[-1] == data.UNK:  # the last of the vocabulary: never seen
        say(
            f"the perplexity includes {alone.oov:,} words that the model never saw, read as "
            f"{data.UNK}, which was not in its training text either (see --min-count)"
        )
    return Measured(alone, with_cache, follows)


def told(measured: Measured, split: str) -> tuple[dict[str, Any], str]:
    """Return what a command answers, as an object and as text: no number stands for another."""
    answer, lines = measured.alone._asdict(), [sentence(measured.alone, split)]
    for name, result in zip(measured._fields[1:], measured[1:], strict=True):
        if result is not None:
            for part in ("perplexity", "nll", "seconds", "signature"):
                answer[f"{part}_{name}"] = getattr(result, part)
            lines.append(
                f"{name.replace('_', ' ')}: {split} perplexity {result.perplexity:.3f}, of a model "
                f"that learns from this text as it reads it ({result.seconds:.1f} s)\n"
                f"{result.signature}"
            )
    return answer, "\n".join(lines)
