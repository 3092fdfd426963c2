"""The commands translate train, translate eval and translate run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from tyro.conf import OmitArgPrefixes, Positional

import lmjax.decoding as decoding
import lmjax.metrics as metrics
import lmjax.train as training
from lmjax.checks import check_above_zero, check_positive
from lmjax.cli.terminal import Json, counting, emit, lap, progress, say, working
from lmjax.cli.training import check_place
from lmjax.data.number_words import number_words
from lmjax.data.parallel import (
    IdPairs,
    Pairs,
    batch_count,
    digest,
    read_pairs,
    split_pairs,
)
from lmjax.data.text import read_lines
from lmjax.data.tokenizer import Tokenizer, learn_tokenizer, split_words
from lmjax.train import TrainedTranslator, TranslatorModel, TranslatorTraining

__all__ = ["COMMANDS"]

NUMBERS = "numbers"
NUMBER_PAIRS = 30_000
SHOWN = 5  # examples


def train(
    pairs: tuple[str, ...],
    out: Path,
    model: OmitArgPrefixes[TranslatorModel] = TranslatorModel(),
    training_options: OmitArgPrefixes[TranslatorTraining] = TranslatorTraining(),
    min_count: int = 2,
    subwords: int | None = None,
    max_length: int = 100,
    patience: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    resume: bool = False,
    as_json: Json = False,
) -> None:
    """Train a translator; 5 % of the sentences are kept for validation, 5 % for the test.

    Args:
        pairs: File with a tab between source and target in every line; or two files, line by line;
            or "numbers", made on the spot: numbers in English and in Korean words.
        out: Directory for the run: configuration, tokenizers, best and last parameters, and
            metrics.jsonl, a line a step.
        model: Shape of the translator.
        training_options: How it is trained.
        min_count: Words seen less often in the training pairs become <unk>.
        subwords: Split words into so many kinds of pieces, by byte pair encoding (with the package
            tokenizers).
        max_length: Train on no pair of which a side has more tokens.
        patience: Stop after so many epochs without a better validation perplexity.
        minutes: Stop, with a last validation, when training has taken so long, the part before
            --resume included. The cosine ends then if the epochs do not end it before.
        seed: Seed of all that is random.
        resume: Go on where the run in OUT was last saved, with the same arguments, or begin if
            nothing was saved.
        as_json: Print one JSON object.
    """
    begin, how = time.perf_counter(), training_options
    check_above_zero(**{"--lr": how.lr, "--clip": how.clip})
    check_positive(**{"--max-length": max_length, "--epochs": how.epochs})
    training.keep_memory()
    check_place(out, resume)
    with working("reading the pairs"):
        text = _prepared(_read(pairs), min_count, subwords, max_length)
    lap("pairs")
    if text.left_out:
        say(f"{text.left_out:,} pairs of over {max_length} tokens are left out")
    config = {
        **asdict(how),
        **{"min_count": min_count, "subwords": subwords, "max_length": max_length},
        **{"pairs": _places(pairs), "seed": seed, "sha256": text.sha256},
    }
    if resume and (out / "config.json").exists():
        training.check_same(out, model, config)
    source, target = text.source, text.target
    translator = training.build_translator(model, len(source.vocab), len(target.vocab))
    training.describe(out, model, config, source=asdict(source), target=asdict(target))
    steps = how.epochs * batch_count(text.train, tokens=how.batch_tokens)
    with progress(f"{model.cell} {model.hidden}") as report:
        run = training.fit_translator(
            translator,
            text.train,
            text.valid,
            jax.random.key(seed),
            epochs=how.epochs,
            tokens=how.batch_tokens,
            transform=training.optimizer("adam", how.lr, steps=steps, max_norm=how.clip),
            patience=patience,
            minutes=minutes,
            report=report,
            out=out,
            resume=resume,
        )
    answer = {
        "valid_perplexity": run.valid,
        "pairs": text.counts,
        "vocabulary": {"source": len(source.vocab), "target": len(target.vocab)},
        "seconds": time.perf_counter() - begin,
        "out": str(out),
    }
    counts = ", ".join(f"{count:,} {split}" for split, count in text.counts.items())
    emit(
        answer,
        as_json,
        f"validation perplexity {run.valid:.2f} a token of the target; pairs: {counts}\n"
        f"run in {out}; lmjax translate eval {out} measures BLEU",
    )


def evaluate(
    run: Positional[Path],
    pairs: tuple[str, ...] = (),
    split: Literal["train", "valid", "test"] = "test",
    beam: int = 5,
    alpha: float = 0.6,
    as_json: Json = False,
) -> None:
    """Translate sentences and measure BLEU against their references.

    A sentence with several translations has them all as references. BLEU is over words and
    punctuation marks, not smoothed; where sacrebleu is installed its score stands beside it.

    Args:
        run: Directory of the run.
        pairs: As for train. Of the pairs that the run was trained on a split is measured; of others
            all. Default those of the training.
        split: train, valid or test.
        beam: Width of the beam search; 1 takes the most probable word each time.
        alpha: How far long translations are spared, 0 not at all.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    check_positive(beam=beam)
    trained = training.load_translator(run)
    with working("reading the pairs"):
        pairs = pairs or tuple(trained.config["pairs"])
        text = _read(pairs)
        sha256 = digest(text)
        name = f"{'+'.join(Path(place).name for place in pairs)}:{sha256[:8]}"
        own = sha256 == trained.config["sha256"]
        chosen = getattr(split_pairs(text), split) if own else text
    references: dict[str, list[str]] = {}
    for source, reference in chosen:
        references.setdefault(source, []).append(reference)
    several = list(references.values())
    found = _translations(trained, list(references), beam=beam, alpha=alpha)
    hypotheses = [best[0][0] if best else "" for best in found]
    words = lambda lines: [split_words(line) for line in lines]
    score = metrics.bleu(
        words(hypotheses),
        [*map(words, several)],
        pairs=name,
        split=split if own else "all",
        beam=beam,
        alpha=alpha,
        seed=trained.config["seed"],
        tok="marks",
    )
    exact = sum(h in those for h, those in zip(hypotheses, several, strict=True)) / len(several)
    beside = _sacrebleu(hypotheses, several)
    rows = [*zip(references, hypotheses, several, strict=True)]
    examples = [
        {"source": source, "translation": hypothesis, "reference": those[0]}
        for source, hypothesis, those in rows[:: max(1, len(rows) // SHOWN)][:SHOWN]
    ]
    answer = {
        **score._asdict(),
        "exact": exact,
        "sentences": len(rows),
        "sacrebleu": beside,
        "examples": examples,
        "seconds": time.perf_counter() - begin,
    }
    lines = [str(score)]
    if beside:
        lines.append(f"sacrebleu {beside['score']:.2f}\n{beside['signature']}")
    lines.append(f"exact: {100 * exact:.1f} % of {len(rows):,} sentences")
    for example in examples:
        lines.append("  {source}\n    {translation}\n    ({reference})".format(**example))
    emit(answer, as_json, "\n".join(lines))


def translate(
    run: Positional[Path],
    text: Positional[str | None] = None,
    beam: int = 5,
    alpha: float = 0.6,
    nbest: int = 1,
    as_json: Json = False,
) -> None:
    """Translate a text, or standard input, a line a sentence.

    Args:
        run: Directory of the run.
        text: Sentences, a line each; default standard input.
        beam: Width of the beam search; 1 takes the most probable word each time.
        alpha: How far long translations are spared, 0 not at all.
        nbest: Print so many translations of each sentence, with the sentence's number and the
            score before each, parted by tabs.
        as_json: Print one JSON object.
    """
    begin = time.perf_counter()
    check_positive(beam=beam, nbest=nbest)
    trained = training.load_translator(run)
    lines = [*read_lines("/dev/stdin")] if text is None else text.split("\n")
    found = _translations(trained, lines, beam=max(beam, nbest), alpha=alpha)
    best = [several[:nbest] or [("", 0.0)] for several in found]
    answer = {
        "translations": [
            {"source": line, "best": [{"text": t, "score": s} for t, s in several]}
            for line, several in zip(lines, best, strict=True)
        ],
        "seconds": time.perf_counter() - begin,
    }
    numbered = (
        f"{i}\t{score:.4f}\t{line}" if nbest > 1 else line
        for i, several in enumerate(best, 1)
        for line, score in several
    )
    emit(answer, as_json, "\n".join(numbered))


# --- what the commands share ----------------------------------------------------------------------


def _read(pairs: Sequence[str]) -> Pairs:
    if list(pairs) == [NUMBERS]:
        return number_words(NUMBER_PAIRS)
    if len(pairs) not in (1, 2):
        raise ValueError(f"pairs: one file or two, got {len(pairs)}")
    return read_pairs(*pairs)


def _places(pairs: Sequence[str]) -> list[str]:
    return [NUMBERS] if list(pairs) == [NUMBERS] else [str(Path(p).absolute()) for p in pairs]


class Prepared(NamedTuple):
    """Pairs to train on, as ids."""

    source: Tokenizer
    target: Tokenizer
    train: IdPairs
    valid: IdPairs
    left_out: int  # of the training, as too long
    counts: dict[str, int]  # pairs of each split
    sha256: str


def _prepared(pairs: Pairs, min_count: int, subwords: int | None, max_length: int) -> Prepared:
    splits = split_pairs(pairs)
    learn: dict[str, Any] = {"min_count": min_count, "subwords": subwords}
    lines = dict(zip(("source", "target"), zip(*splits.train, strict=True), strict=True))
    source, target = (learn_tokenizer(side, **learn, name=name) for name, side in lines.items())
    encoded = lambda part: [(source.encode(x), target.encode(y)) for x, y in part]
    train = [pair for pair in encoded(splits.train) if max(map(len, pair)) <= max_length]
    if not train:
        raise ValueError(f"max_length: no pair has at most {max_length} tokens")
    left_out = len(splits.train) - len(train)
    counts = {name: len(part) for name, part in splits._asdict().items()}
    sides = source, target, train, encoded(splits.valid)
    return Prepared(*sides, left_out, counts, digest(pairs))


def _translations(
    trained: TrainedTranslator, lines: Sequence[str], *, beam: int, alpha: float
) -> list[list[tuple[str, float]]]:
    """Return the translations of each line and their scores, none of an empty line."""
    model, params, source, target, _ = trained
    training.keep_memory()
    full = [i for i, line in enumerate(lines) if line.strip()]
    if not full:
        return [[] for _ in lines]
    ids = [source.encode(lines[i]) for i in full]
    how: dict[str, Any] = {"end": target.vocab.eos, "size": beam, "alpha": alpha}
    with counting("translating", "sentences") as report:
        found = decoding.translate(model, params, ids, report=report, **how)
    best = {
        i: [(target.decode(t.ids), t.score) for t in several]
        for i, several in zip(full, found, strict=True)
    }
    return [best.get(i, []) for i in range(len(lines))]


def _sacrebleu(hypotheses: list[str], references: list[list[str]]) -> dict[str, Any] | None:
    """Return the score of sacrebleu and its signature, if it is installed."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        return None
    most = max(map(len, references))
    columns: list[Any] = [[r[k] if k < len(r) else None for r in references] for k in range(most)]
    judge = BLEU()
    score = judge.corpus_score(hypotheses, columns).score
    return {"score": score, "signature": str(judge.get_signature())}


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "eval": evaluate,
    "run": translate,
}
