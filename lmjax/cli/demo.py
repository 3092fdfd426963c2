"""The command demo, the main job: an RNN and an LSTM on real prose, beside an n-gram model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lmjax.data as data
import lmjax.decoding as decoding
import lmjax.metrics as metrics
import lmjax.train as training
from lmjax.cli.terminal import Json, called, emit, progress, say, working
from lmjax.models import Params, join, mixture, mixture_weights, ngram
from lmjax.train import Model

__all__ = ["COMMANDS"]

MODEL = Model(hidden=128, head="tied", drop_input=0.2, drop_output=0.2)
EPOCHS, BATCH_SIZE, BPTT = 3, 16, 32
LR, CLIP = 8e-3, 1.0
ORDER = 5  # of the n-gram model
NGRAM = f"Kneser-Ney {ORDER}-gram"


def demo(out: Path = Path("out/demo"), seed: int = 0, as_json: Json = False) -> None:
    """Train a vanilla RNN and an LSTM of equal size on Python's own prose and compare them.

    With each other, with a modified Kneser-Ney 5-gram on the same tokens, and with the mixture of
    this and the LSTM.

    Args:
        out: Directory for report.html and report.json.
        seed: Seed of all that is random.
        as_json: Print one JSON object.
    """
    import lmjax.report as report  # matplotlib takes a second to import

    begin = time.perf_counter()
    training.keep_memory()
    with working("reading Python's own prose"):
        text = data.stdlib()
    baseline = metrics.unigram_perplexity(text.train, text.test, len(text.vocab))
    say(
        f"{len(text.train):,} words to train on, {len(text.test):,} to test on, "
        f"vocabulary {len(text.vocab):,}; unigram baseline {baseline:.2f}"
    )
    key = jax.random.key(seed)
    subjects, quotes = [], []
    for cell in ("rnn", "lstm"):
        subjects.append(report.Subject(*_trained(cell, text, key)))
        quotes.append((cell, _written(subjects[-1], text.vocab, key)))
        say(f"{cell} writes: {quotes[-1][1]}")
    with working("comparing them with an n-gram model"):
        scores, logp, seen = _scored({s.name: (s.lm, s.params) for s in subjects}, text, seed)
    scores["perplexity"] = {"unigram": baseline} | scores["perplexity"]
    section, by_context = report.comparison(
        scores["perplexity"], logp, seen, scores["weights"], len(text.train)
    )
    with working("studying the gradients"):
        sections, numbers = report.diagnose(subjects, text.test)
    written = "From an empty context, each word drawn from the most probable 90 % (top-p 0.9)."
    last = report.Section("What they write", "Grammatical in parts, and incoherent.", written)
    sections = [section, *sections, last._replace(quotes=tuple(quotes))]
    lead = (
        f"A vanilla RNN and an LSTM of {MODEL.hidden} hidden units read the English prose that "
        f"ships with Python: {len(text.train):,} words, {len(text.vocab):,} of them different. "
        f"{scores['signature']}"
    )
    answer = scores | {
        "perplexity_by_context": by_context,
        "models": numbers,
        "text": dict(quotes),
        "seconds": time.perf_counter() - begin,
    }
    page = report.page("A vanilla RNN beside an LSTM", lead, sections)
    place = report.write(out, page, answer)
    listed = ", ".join(f"{name} {value:.1f}" for name, value in scores["perplexity"].items())
    emit(
        {**answer, "page": str(place)},
        as_json,
        f"test perplexity: {listed}\n{section.finding}\n{section.text}\n"
        f"{scores['signature']}\n{place}",
    )


def _trained(cell, text, key):
    """Train one network; return what a `report.Subject` holds of it."""
    lm = training.build(replace(MODEL, cell=cell), len(text.vocab))
    total = EPOCHS * training.steps_per_epoch(len(text.train), BATCH_SIZE, BPTT)
    with progress(cell) as report_progress:
        run = training.fit(
            lm,
            text,
            key,
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            bptt=BPTT,
            transform=training.optimizer("adam", LR, steps=total, max_norm=CLIP),
            report=report_progress,
        )
    return cell, lm, run.params, training.init_params(lm, key), run.history, CLIP


def _written(subject, vocab, key) -> str:
    ids = decoding.generate(
        subject.lm,
        subject.params,
        [vocab.eos],
        key,
        length=80,
        top_p=0.9,
        exclude=(vocab.unk,),
    )
    return vocab.decode(ids)


def _scored(systems, text, seed):
    """Score networks, an n-gram model, and its mixture with the last network on the test text.

    Returns:
        The numbers; the log-probabilities `[N]` of the tokens, by name; whether the n-gram model
        has seen the words before each of them.
    """
    eos, size, network = text.vocab.eos, len(text.vocab), list(systems)[-1]
    counts = ngram.count(text.train, ORDER, size=size, eos=eos)
    model = ngram.index(ngram.modified_kneser_ney(counts, fallback=ngram.FALLBACK))
    systems |= {NGRAM: (ngram.ngram(size, ORDER, eos=eos), Params((), (), model))}

    parts = (network, NGRAM)
    valid = [metrics.token_log_probs(*systems[name], text.valid, start=eos) for name in parts]
    weights = mixture_weights(jnp.stack(valid))
    lms, params = zip(*(systems[name] for name in parts), strict=True)
    systems |= {" + ".join(parts): (mixture(*lms), join(params, weights))}

    logp = {
        name: metrics.token_log_probs(*system, text.test, start=eos)
        for name, system in systems.items()
    }
    nll = {name: -float(np.mean(values, dtype=float)) for name, values in logp.items()}
    seen = _seen(model, text.test, eos)
    scores = {
        "perplexity": {name: float(np.exp(value)) for name, value in nll.items()},
        "nll": nll,
        "tokens": len(text.test),
        "weights": dict(zip(parts, weights.tolist(), strict=True)),
        "context_seen": float(np.mean(seen)),
        "signature": metrics.signature(
            corpus=called(text), split="test", seed=seed, tokens=len(text.test), batch_size=1
        ),
    }
    return scores, logp, seen


def _seen(model, ids, eos) -> np.ndarray:
    """Whether the n - 1 tokens before each token stand in the training text, `<s>` among them."""
    length, _ = ngram.matches(model, ids)
    before = np.where(ids == eos, 0, length)[:-1]  # nothing is seen over the end of a line
    return np.concatenate([[0], before]) >= ORDER - 1


COMMANDS: dict[str, Callable[..., Any]] = {"demo": demo}
