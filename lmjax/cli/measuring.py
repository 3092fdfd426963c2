"""What commands that measure share: the text they read, and what they say of a perplexity."""

from __future__ import annotations

import math

import lmjax.data as data
from lmjax.metrics import Perplexity

__all__ = ["read_corpus", "sentence"]


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
