"""The commands about recurrent models: train, eval, generate, complete, diagnose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
from tyro.conf import OmitArgPrefixes, Positional

import lmjax.data as data
import lmjax.metrics as metrics
import lmjax.train as training
from lmjax.checks import check_above_zero
from lmjax.cli.measuring import read_corpus, sentence
from lmjax.cli.terminal import Json, called, emit, fail, lap, laps, progress, say, working
from lmjax.cli.writing import Sampling, suggestions, write_on
from lmjax.metrics import Perplexity
from lmjax.train import Model, Trained

__all__ = ["COMMANDS"]


def train(
    corpus: str,
    out: Path,
    model: OmitArgPrefixes[Model] = Model(),
    epochs: int = 5,
    batch_size: int = 32,
    bptt: int = 35,
    optimizer: str = "adam",
    lr: float = 2e-3,
    decay: Literal["cosine", "plateau", "constant"] = "cosine",
    clip: float = 1.0,
    average: Literal["none", "ema", "asgd"] = "none",
    patience: int | None = None,
    minutes: float | None = None,
    level: str = "word",
    min_count: int = 1,
    seed: int = 0,
    resume: bool = False,
    as_json: Json = False,
) -> None:
    """Train a recurrent language model; report its exact test perplexity.

    Args:
        corpus: Directory with train, valid and test text, or "stdlib" for Python's own English
            prose.
        out: Directory for the run: configuration, vocabulary, best and last parameters, and
            metrics.jsonl, a line a step.
        model: Shape of the model.
        epochs: Passes over the training text. With --resume it may be another number: the learning
            rate then goes on along the cosine of that many epochs, from the step it has reached.
        batch_size: Sequences of the text that are read side by side.
        bptt: Tokens of a sequence at a time, and how far gradients flow back.
        optimizer: adam, sgd or adagrad; the last takes a larger --lr, 0.2 for example.
        lr: Learning rate of the first step.
        decay: How the rate falls: to 0 along a cosine, to a quarter after each epoch without a
            better validation (plateau), or not at all (constant).
        clip: Scale a gradient whose global norm is larger down to this.
        average: Validate and keep an average of the parameters after each step: an exponential
            moving one with the span of an epoch (ema), or the mean since the first epoch without
            a better validation (asgd). Either pays where the rate stays high to the end.
        patience: Stop after so many epochs without a better validation perplexity.
        minutes: Stop, with a last validation, when training has taken so long, the part before
            --resume included. The cosine ends then if the epochs do not end it before. The rate
            so depends on the clock, and no two such runs are the same to the last digit.
        level: word or char.
        min_count: Words seen less often in the training text become <unk>.
        seed: Seed of all that is random.
        resume: Go on where the run in OUT was last saved, with the same arguments, or begin if
            nothing was saved. Another path to the same text will do, and --epochs, --patience and
            --minutes may differ.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    check_above_zero(**{"--lr": lr})
    if not clip > 0:
        raise ValueError(f"--clip: must be positive, got {clip}")
    training.keep_memory()
    config = {name: value for name, value in locals().items() if name in _KEPT}
    saved = [name for name in (training.LAST, training.BEST) if (out / name).exists()]
    if saved and not resume:
        raise ValueError(
            f"out: {out} holds a run already; --resume goes on with it, another --out starts afresh"
        )
    if resume and training.LAST not in saved:
        say(f"nothing is saved in {out} yet; starting from the beginning")
    with working("reading the corpus"):
        text = read_corpus(corpus, level=level, min_count=min_count)
    lap("corpus")
    lm = training.build(model, len(text.vocab))
    place = corpus if corpus == "stdlib" else str(Path(corpus).absolute())
    config |= {"corpus": place, "sha256": text.sha256}
    if resume and (out / "config.json").exists():
        training.check_same(out, model, config)
    steps = training.steps_per_epoch(len(text.train), batch_size, bptt)
    averages = {
        "none": None,
        "ema": training.Averaging(decay=1 - 2 / (steps + 1)),
        "asgd": training.Averaging(patience=1),
    }
    transform = training.optimizer(
        optimizer,
        lr,
        steps=epochs * steps if decay == "cosine" else None,
        plateau=0.25 if decay == "plateau" else None,
        max_norm=clip,
    )
    training.describe(out, model, text.vocab, config)
    with progress(_name(model)) as report:
        run = training.fit(
            lm,
            text,
            jax.random.key(seed),
            epochs=epochs,
            batch_size=batch_size,
            bptt=bptt,
            transform=transform,
            average=averages[average],
            patience=patience,
            minutes=minutes,
            report=report,
            out=out,
            resume=resume,
        )
    with working("measuring test perplexity"):
        result = _measure(lm, run.params, text, "test", seed=seed)
    result = result._replace(seconds=time.perf_counter() - begin)
    baseline = metrics.unigram_perplexity(text.train, text.test, len(text.vocab))
    answer = {
        **result._asdict(),
        "valid_perplexity": run.valid,
        "unigram_perplexity": baseline,
        "out": str(out),
    }
    answer["first_step"] = first = laps()
    parts = ", ".join(f"{what} {seconds:.1f}" for what, seconds in first.items())
    emit(
        answer,
        as_json,
        f"{sentence(result, 'test')}\n"
        f"valid {run.valid:.2f}, unigram {baseline:.2f}; run in {out}\n"
        f"first step after {sum(first.values()):.1f} s: {parts}",
    )
    if not math.isfinite(run.history.valid[-1][1]):
        fail("training diverged: its last validation is not finite; try a smaller --lr")
    if not result.perplexity < baseline:
        fail(
            f"worse than the unigram model, whose test perplexity is {baseline:.2f}: "
            "train longer (--epochs, --resume) or, if it diverged, with a smaller --lr"
        )


_KEPT = (
    "epochs",
    "batch_size",
    "bptt",
    "optimizer",
    "lr",
    "decay",
    "clip",
    "average",
    "level",
    "min_count",
    "seed",
)


def evaluate_run(
    run: Positional[Path],
    corpus: str | None = None,
    split: str = "test",
    batch_size: int = 1,
    as_json: Json = False,
) -> None:
    """Measure the exact perplexity of a trained model.

    Args:
        run: Directory of the run.
        corpus: Directory of the text, the split's file itself, or "stdlib"; default that of the
            training.
        split: train, valid or test.
        batch_size: Sequences scored side by side; more than 1 is faster and loses context at each
            start.
        as_json: Print one JSON object.
    """
    if split not in ("train", "valid", "test"):
        raise ValueError(f"split: must be train, valid or test, got {split!r}")
    training.keep_memory()
    trained = training.load_run(run)
    with working(f"measuring {split} perplexity"):
        text = _text_of(run, trained, corpus, split)
        result = _measure(
            trained.lm,
            trained.params,
            text,
            split,
            seed=trained.config["seed"],
            batch_size=batch_size,
        )
    emit(result._asdict(), as_json, sentence(result, split))


def generate(
    run: Positional[Path],
    prompt: str = "",
    sampling: OmitArgPrefixes[Sampling] = Sampling(),
    as_json: Json = False,
) -> None:
    """Let a trained model write on.

    Args:
        run: Directory of the run.
        prompt: Text to start from.
        sampling: How words are chosen.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    lm, params, vocab, _ = training.load_run(run)
    answer, text = write_on(lm, params, vocab, prompt, sampling)
    emit({**answer, "seconds": time.perf_counter() - begin}, as_json, text)


def complete(
    run: Positional[Path], text: Positional[str], count: int = 5, as_json: Json = False
) -> None:
    """Suggest the next word, with probabilities.

    Args:
        run: Directory of the run.
        text: What has been written so far.
        count: How many suggestions.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    lm, params, vocab, _ = training.load_run(run)
    answer, lines = suggestions(lm, params, vocab, text, count)
    emit({**answer, "seconds": time.perf_counter() - begin}, as_json, lines)


def diagnose(
    run: Positional[Path], out: Path, corpus: str | None = None, as_json: Json = False
) -> None:
    """Show how gradients flow through a trained model: one page of figures.

    Args:
        run: Directory of the run.
        out: Directory for report.html and report.json.
        corpus: Directory of the text to read, its file, or "stdlib"; default that of the training.
        as_json: Print one JSON object.
    """
    import lmjax.report as report  # matplotlib takes a second to import

    begin = time.perf_counter()
    training.keep_memory()
    trained = training.load_run(run)
    with working("reading the test text and studying the gradients"):
        text = _text_of(run, trained, corpus, "test")
        subject = report.Subject(
            trained.config["model"]["cell"],
            trained.lm,
            trained.params,
            before=training.init_params(trained.lm, jax.random.key(trained.config["seed"])),
            history=training.load_history(run),
            max_norm=trained.config["clip"],
        )
        sections, numbers = report.diagnose([subject], text.test)
    signature = metrics.signature(corpus=called(text), split="test", seed=trained.config["seed"])
    lead = f"A look inside the run {run.name}. {signature}"
    answer = {"models": numbers, "seconds": time.perf_counter() - begin, "signature": signature}
    place = report.write(out, report.page("How gradients flow", lead, sections), answer)
    emit({**answer, "page": str(place)}, as_json, str(place))


# --- what the commands share ----------------------------------------------------------------------


def _text_of(run: Path, trained: Trained, corpus: str | None, split: str) -> data.Corpus:
    """Read a split of the text that is named, or else of the one the run was trained on.

    That is where it was, or there as seen from beside the run.
    """
    name = trained.config["corpus"]
    above = run.resolve().parents
    places = [Path(name), *(place / name for place in above), above[0] / Path(name).name]
    place = corpus or next((str(p) for p in places if p.is_dir() or name == "stdlib"), None)
    if place is None:
        raise ValueError(f"corpus: the run was trained on {name}, not to be found; give --corpus")
    text = read_corpus(place, vocab=trained.vocab, split=split)
    if corpus is None and text.sha256 != trained.config["sha256"]:
        say(f"{place} does not hold the text that the run was trained on")
    return text


def _measure(
    lm, params, text: data.Corpus, split: str, *, seed: int, batch_size: int = 1
) -> Perplexity:
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


def _name(model: Model) -> str:
    return f"{model.cell} {model.hidden}" + f" x{model.layers}" * (model.layers > 1)


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "eval": evaluate_run,
    "generate": generate,
    "complete": complete,
    "diagnose": diagnose,
}
