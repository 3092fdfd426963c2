"""The commands about trained models: eval, generate, complete, diagnose, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from tyro.conf import OmitArgPrefixes, Positional

import lmjax.data as data
import lmjax.metrics as metrics
import lmjax.train as training
from lmjax.checks import check_positive
from lmjax.cli.measuring import read_corpus
from lmjax.cli.scoring import measure, told
from lmjax.cli.terminal import Json, called, emit, say, working
from lmjax.cli.writing import Sampling, suggestions, write_on
from lmjax.train import Trained

__all__ = ["COMMANDS"]


def evaluate_run(
    run: Positional[Path],
    corpus: str | None = None,
    split: str = "test",
    batch_size: int = 1,
    cache: int | None = None,
    dynamic: bool = False,
    as_json: Json = False,
) -> None:
    """Measure the exact perplexity of a trained model.

    With --cache and --dynamic also of one that learns from the text as it reads it. These numbers
    stand beside those of models that do the same, never among others.

    Args:
        run: Directory of the run.
        corpus: Directory of the text, the split's file itself, or "stdlib"; default that of the
            training.
        split: train, valid or test.
        batch_size: Sequences scored side by side; more than 1 is faster and loses context at each
            start.
        cache: Mix the model with a cache of so many of the last words, such as 2000: those where
            the model's state was like the present one count most. How much is chosen on the
            validation text.
        dynamic: Train the model on each segment of the text once it is scored. The learning rate is
            chosen on the validation text. It takes about eight times as long.
        as_json: Print one JSON object.
    """
    if split not in ("train", "valid", "test"):
        raise ValueError(f"split: must be train, valid or test, got {split!r}")
    if dynamic and batch_size != 1:
        raise ValueError(f"dynamic: reads one sequence, and takes no --batch-size {batch_size}")
    if cache is not None:
        check_positive(cache=cache)
    training.keep_memory()
    trained = training.load_run(run)
    with working("reading the text"):
        text = _text_of(run, trained, corpus, split)
        valid = text.valid
        if (cache is not None or dynamic) and split != "valid":
            place = corpus if corpus == "stdlib" or Path(corpus or "").is_dir() else None
            valid = _text_of(run, trained, place, "valid").valid
    seed = trained.config["seed"]
    follow: dict[str, Any] = {"valid": valid, "cache": cache, "dynamic": dynamic}
    of_run = trained.lm, trained.params, text, split
    found = measure(*of_run, seed=seed, batch_size=batch_size, **follow)
    answer, lines = told(found, split)
    emit(answer, as_json, lines)


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
    _study([run], out, corpus, as_json)


def compare(
    runs: Positional[tuple[Path, ...]],
    out: Path,
    corpus: str | None = None,
    as_json: Json = False,
) -> None:
    """Show how gradients flow through several trained models, side by side, in the same scales.

    Args:
        runs: Directories of two runs or more, with one vocabulary.
        out: Directory for report.html and report.json.
        corpus: Directory of the text to read, its file, or "stdlib"; default that of the training
            of the first.
        as_json: Print one JSON object.
    """
    if len(runs) < 2 or len(set(map(str, runs))) < len(runs):
        raise ValueError(f"runs: must be two different ones or more, got {[*map(str, runs)]}")
    _study(runs, out, corpus, as_json)


# --- what the commands share ----------------------------------------------------------------------


def _study(runs: Sequence[Path], out: Path, corpus: str | None, as_json: bool) -> None:
    """Write the page about runs, which read one text."""
    import lmjax.report as report  # matplotlib takes a second to import

    begin = time.perf_counter()
    training.keep_memory()
    loaded = [training.load_run(run) for run in runs]
    for run, trained in zip(runs, loaded, strict=True):
        if trained.vocab != loaded[0].vocab:
            raise ValueError(f"runs: {runs[0]} and {run} have different vocabularies")
    with working("reading the test text and studying the gradients"):
        text = _text_of(runs[0], loaded[0], corpus, "test")
        subjects = [
            report.Subject(
                name,
                trained.lm,
                trained.params,
                before=training.init_params(trained.lm, jax.random.key(trained.config["seed"])),
                history=training.load_history(run),
                max_norm=trained.config["clip"],
            )
            for run, name, trained in zip(runs, _names(runs, loaded), loaded, strict=True)
        ]
        sections, numbers = report.diagnose(subjects, text.test)
    seeds = ",".join(str(trained.config["seed"]) for trained in loaded)
    signature = metrics.signature(corpus=called(text), split="test", seed=seeds)
    lead = f"A look inside {', '.join(run.name for run in runs)}. {signature}"
    answer = {"models": numbers, "seconds": time.perf_counter() - begin, "signature": signature}
    place = report.write(out, report.page("How gradients flow", lead, sections), answer)
    emit({**answer, "page": str(place)}, as_json, str(place))


def _names(runs: Sequence[Path], loaded: Sequence[Trained]) -> list[str]:
    """Return what runs are called on a page."""
    if len(runs) == 1:
        return [loaded[0].config["model"]["cell"]]
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [*map(str, runs)]


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


COMMANDS: dict[str, Callable[..., Any]] = {
    "eval": evaluate_run,
    "generate": generate,
    "complete": complete,
    "diagnose": diagnose,
    "compare": compare,
}
