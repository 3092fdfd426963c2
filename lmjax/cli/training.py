"""The command train, and what trains a model in a directory for other commands."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
from tyro.conf import OmitArgPrefixes

import lmjax.metrics as metrics
from lmjax.checks import check_above_zero
from lmjax.cli.measuring import read_corpus, sentence
from lmjax.cli.scoring import measure
from lmjax.cli.terminal import Json, emit, fail, lap, laps, progress, say, working
from lmjax.data import Corpus
from lmjax.models import LanguageModel
from lmjax.train import (
    BEST,
    LAST,
    RECIPES,
    Model,
    Recipe,
    Run,
    Training,
    check_same,
    describe,
    fit,
    keep_memory,
    plan,
)

__all__ = ["check_place", "place_of", "train", "train_in", "with_recipe"]


def train(
    corpus: str,
    out: Path,
    recipe: Literal[tuple(RECIPES)] | None = None,  # type: ignore[valid-type]
    model: OmitArgPrefixes[Model] = Model(),
    training: OmitArgPrefixes[Training] = Training(),
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
        recipe: Where the other options are not given, take this recipe's; see them with --help.
        model: Shape of the model.
        training: How it is trained.
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
    check_above_zero(**{"--lr": training.lr})
    if not training.clip > 0:
        raise ValueError(f"--clip: must be positive, got {training.clip}")
    keep_memory()
    check_place(out, resume)
    with working("reading the corpus"):
        text = read_corpus(corpus, level=level, min_count=min_count)
    lap("corpus")
    given = {"corpus": place_of(corpus), "level": level, "min_count": min_count, "seed": seed}
    lm, run = train_in(
        out, text, Recipe(model, training), given, patience=patience, minutes=minutes, resume=resume
    )
    result = measure(lm, run.params, text, "test", seed=seed).alone
    result = result._replace(seconds=time.perf_counter() - begin)
    baseline = metrics.unigram_perplexity(text.train, text.test, len(text.vocab))
    first = laps()
    answer = {
        **result._asdict(),
        "valid_perplexity": run.valid,
        "unigram_perplexity": baseline,
        "recipe": recipe,
        "out": str(out),
        "first_step": first,
    }
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


def train_in(
    out: Path,
    text: Corpus,
    recipe: Recipe,
    given: dict[str, Any],
    *,
    patience: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
) -> tuple[LanguageModel, Run]:
    """Train a recipe in a directory, or go on there.

    Args:
        out: the directory.
        text: the corpus.
        recipe: the model, and its training.
        given: what else the run is made from, for `config.json`; its `seed` among it.
        patience: see `train.fit`.
        minutes: see `train.fit`.
        resume: see `train.fit`.
    """
    model, training = recipe
    lm, options = plan(recipe, text)
    config = {**asdict(training), **given, "sha256": text.sha256}
    if resume and (out / "config.json").exists():
        check_same(out, model, config)
    describe(out, model, config, vocab=asdict(text.vocab))
    options |= {"patience": patience, "minutes": minutes, "resume": resume, "out": out}
    name = f"{model.cell} {model.hidden}" + f" x{model.layers}" * (model.layers > 1)
    with progress(name) as report:
        return lm, fit(lm, text, jax.random.key(given["seed"]), report=report, **options)


def check_place(out: Path, resume: bool) -> None:
    """Refuse a directory that holds a run, unless it goes on; say so where there is none yet."""
    saved = [name for name in (LAST, BEST) if (out / name).exists()]
    if saved and not resume:
        raise ValueError(
            f"out: {out} holds a run already; --resume goes on with it, another --out starts afresh"
        )
    if resume and LAST not in saved:
        say(f"nothing is saved in {out} yet; starting from the beginning")


def place_of(corpus: str) -> str:
    """Return where a run notes that its text lies."""
    return corpus if corpus == "stdlib" else str(Path(corpus).absolute())


def with_recipe(words: list[str]) -> Callable[..., None]:
    """Return `train` with the defaults of the recipe that a command line names, if it names one.

    >>> with_recipe(["train", "--recipe", "lstm64"]).keywords["model"].hidden
    64
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs="?")
    name = parser.parse_known_args(words)[0].recipe
    return partial(train, **RECIPES[name]._asdict()) if name in RECIPES else train
