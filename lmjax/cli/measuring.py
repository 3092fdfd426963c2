"""What commands that measure share: the text they read, and what they say of a perplexity."""

from __future__ import annotations

import math
from typing import Any

import lmjax.data as data
import lmjax.metrics as metrics
from lmjax.cli.terminal import called, say
from lmjax.metrics import Perplexity
from lmjax.models import LanguageModel

__all__ = ["measure", "read_corpus", "sentence"]


def read_corpus(
    name: str,
    *,
    level: str = "word",
    min_count: int = 1,
    vocab: data.Vocabulary | None = None,
    split: str | None = None,
) -> data.Corpus:
    """Read the text that a command names: a directory, "stdlib", or for one split a file too."""
    if name == "stdlib":
        return data.stdlib(level=level, min_count=max(min_count, 5), vocab=vocab)
    if split is not None and vocab is not None:
        return data.one_split(name, split, vocab=vocab)
    return data.directory(name, level=level, min_count=min_count, vocab=vocab)


def measure(
    lm: LanguageModel, params, text: data.Corpus, split: str, *, seed: int, batch_size: int = 1
) -> Perplexity:
    """Return the exact perplexity of a split; say so if unknown words were never trained on."""
    vocab = text.vocab
    fields: dict[str, Any] = {"corpus": called(text), "split": split, "seed": seed}
    fields |= {"start": vocab.eos, "unknown": vocab.unk, "batch_size": batch_size}
    result = metrics.perplexity(lm, params, getattr(text, split), **fields)
    if result.oov and vocab.symbols[-1] == data.UNK:  # the last of the vocabulary was never seen
        say(
            f"the perplexity includes {result.oov:,} words that the model never saw, read as "
            f"{data.UNK}, which was not in its training text either (see --min-count)"
        )
    return result


def sentence(result: Perplexity, split: str) -> str:
    """Return what a command says of a perplexity."""
    on = f"{result.tokens:,} tokens (nll {result.nll:.5f} nats a token, {result.seconds:.1f} s)"
    first = f"{split} perplexity {result.perplexity:.3f} on {on}"
    if not math.isfinite(result.perplexity):
        first = f"no {split} perplexity on {on}"
    second = "unknown words: none"
    if result.oov:
        known = f"perplexity {result.perplexity_without_oov:.3f} without them"
        second = f"unknown words: {result.oov:,} ({result.oov / result.tokens:.1%}), {known}"
    return f"{first}\n{second}\n{result.signature}"
