"""What a language model of any kind writes for the commands: text, and suggestions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

import lmjax.data as data
import lmjax.decoding as decoding
import lmjax.metrics as metrics
from lmjax.cli.terminal import say
from lmjax.models import LanguageModel

__all__ = ["Sampling", "prompt_ids", "suggestions", "write_on"]


@dataclass(frozen=True)
class Sampling:
    """How words are chosen."""

    length: int = 60
    """Tokens to write."""
    temperature: float = 1.0
    """Below 1 plays safe, above 1 dares; 0 always takes the most probable word."""
    top_k: int | None = None
    """Choose among the k most probable words only."""
    top_p: float | None = None
    """Choose among the most probable words that hold this much probability only."""
    unknown: bool = False
    """Let the model write <unk> too."""
    seed: int = 0
    """Seed of the choices."""


def write_on(
    lm: LanguageModel, params, vocab: data.Vocabulary, prompt: str, sampling: Sampling
) -> tuple[dict, str]:
    """Return a command's answer about the text that follows a prompt, and both together."""
    how: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }
    key, exclude = jax.random.key(sampling.seed), () if sampling.unknown else (vocab.unk,)
    start = prompt_ids(vocab, prompt)
    ids = decoding.generate(lm, params, start, key, length=sampling.length, exclude=exclude, **how)
    text = vocab.decode(ids)
    signature = metrics.signature(seed=sampling.seed, **how)
    answer = {"prompt": prompt, "text": text, "tokens": len(ids), "signature": signature}
    return answer, f"{prompt}{' ' * (vocab.level == 'word')}{text}".strip(" ")


def suggestions(
    lm: LanguageModel, params, vocab: data.Vocabulary, text: str, count: int
) -> tuple[dict, str]:
    """Return a command's answer about the most probable next words, and the same as lines."""
    found = decoding.suggest(lm, params, prompt_ids(vocab, text), count=count)
    words = [{"word": vocab.symbols[i], "probability": p} for i, p in found]
    lines = "\n".join(f"{w['probability']:8.2%}  {w['word']!r}" for w in words)
    return {"text": text, "suggestions": words, "signature": metrics.signature()}, lines


def prompt_ids(vocab: data.Vocabulary, text: str) -> list[int]:
    """Return the line start and the tokens of a text that goes on."""
    ids = vocab.encode(text + "\n")[:-1]
    known = vocab.index
    if unknown := " ".join(t for t in data.tokenize(text, vocab.level) if t not in known):
        shown = unknown if len(unknown) <= 80 else unknown[:80] + " ..."
        say(f"not in the vocabulary, read as {data.UNK}: {shown}")
    return [vocab.eos, *ids.tolist()]
