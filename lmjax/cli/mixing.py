"""The command mix: finished models of any kind, averaged."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
from tyro.conf import Positional

import lmjax.metrics as metrics
import lmjax.train as training
from lmjax.cli.measuring import read_corpus, sentence
from lmjax.cli.ngram import load_model
from lmjax.cli.terminal import Json, called, emit, say, working
from lmjax.models import join, mixture, mixture_weights

__all__ = ["COMMANDS", "load"]


def mix(
    models: Positional[tuple[Path, ...]],
    corpus: str,
    split: Literal["train", "valid", "test"] = "test",
    as_json: Json = False,
) -> None:
    """Measure the exact perplexity of a mixture of models: their distributions, averaged.

    The weights are those under which the validation text is most probable.

    Args:
        models: Directories of trained runs and files of n-gram models or sparse matrices, two at
            least, over one vocabulary.
        corpus: Directory with the validation text and the split that is scored, or "stdlib".
        split: train, valid or test.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    if len(models) < 2:
        raise ValueError(f"mix: two models at least, got {len(models)}")
    loaded = [load(path) for path in models]
    vocab = loaded[0].vocab
    for path, other in zip(models, loaded, strict=True):
        if other.vocab != vocab:
            raise ValueError(
                f"mix: {path} has another vocabulary than {models[0]}; "
                "train and fit them on one corpus"
            )
    eos, unk = vocab.eos, vocab.unk
    held_out = read_corpus(corpus, vocab=vocab, split="valid")
    with working("weighing the models on the validation text"):
        logp = [metrics.token_log_probs(m.lm, m.params, held_out.valid, start=eos) for m in loaded]
        weights = mixture_weights(jnp.stack(logp))
    for path, values in zip(models, logp, strict=True):
        alone = metrics.summary(values, held_out.valid == unk, seconds=0, signature="")
        say(f"{path}: validation perplexity {alone.perplexity:.3f}")
    lm = mixture(*(m.lm for m in loaded))
    params = join([m.params for m in loaded], weights)
    text = held_out if split == "valid" else read_corpus(corpus, vocab=vocab, split=split)
    shares = dict(zip(map(str, models), weights.tolist(), strict=True))
    fields: dict[str, Any] = {
        "mixture": " + ".join(f"{share:.4f} {name}" for name, share in shares.items()),
        "corpus": called(text),
        "split": split,
    }
    with working(f"measuring {split} perplexity"):
        ids = getattr(text, split)
        result = metrics.perplexity(lm, params, ids, start=eos, unknown=unk, **fields)
    result = result._replace(seconds=time.perf_counter() - begin)
    listed = ", ".join(f"{share:.3f} {name}" for name, share in shares.items())
    answer = {**result._asdict(), "weights": shares}
    emit(answer, as_json, f"{sentence(result, split)}\nweights: {listed}")


def load(path: Path):
    """Return the model of a run's directory or of a file, its vocabulary among it."""
    return training.load_run(path) if path.is_dir() else load_model(path)


COMMANDS: dict[str, Callable[..., Any]] = {"mix": mix}
