"""The command table: the lecture's systems on one text, a row each."""

from __future__ import annotations

import json
import math
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

import lmjax.metrics as metrics
from lmjax.cli.measuring import read_corpus
from lmjax.cli.mixing import load
from lmjax.cli.ngram import Method, fit
from lmjax.cli.scoring import measure, told
from lmjax.cli.systems import CAVEAT, SYSTEMS, System
from lmjax.cli.terminal import Json, called, emit, fail, say, to_json, working
from lmjax.cli.training import place_of, train_in
from lmjax.data import Corpus
from lmjax.models import mixture_weights, ngram, snm
from lmjax.train import LAST, RECIPES, keep_memory
from lmjax.train.checkpoint import read_meta, write

__all__ = ["COMMANDS", "figure", "lines", "measure_all"]

SEED = 0
CACHE = 2000  # words
WITH_CACHE = ("perplexity_with_cache", "signature_with_cache")  # as `lmjax eval` calls them
LEARNS = "* These models learn from the test text as they read it, the others do not."


def table(
    corpus: str,
    out: Path = Path("out/table"),
    rows: str = ",".join(SYSTEMS),
    minutes: float | None = None,
    as_json: Json = False,
) -> None:
    """Train and measure the systems of the lecture's table on one text, and mix them.

    Started again it keeps the rows that are done, and goes on with the one that was interrupted.

    Args:
        corpus: Directory with train, valid and test text, or "stdlib" for Python's own English
            prose.
        out: Directory for table.json and table.png and, for each row, its model: a run that
            `lmjax train --recipe ROW` would make, or a file of `lmjax ngram fit`.
        rows: The systems.
        minutes: Train each network for so much time at most, see `lmjax train`.
        as_json: Print one JSON object.
    """
    names = rows.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise ValueError(f"rows: must be among {', '.join(SYSTEMS)}, got {', '.join(unknown)}")
    keep_memory()
    result = measure_all(corpus, out, names, minutes)
    write(out / "table.json", to_json(result, indent=1).encode())
    drawn = json.loads((out / "table.json").read_text("utf-8"))
    if drawn["rows"]:
        figure(drawn).savefig(out / "table.png")
    emit(result, as_json, "\n".join([*lines(drawn), str(out / "table.json")]))
    if result["failed"]:
        fail("; ".join(f"{name} failed: {why}" for name, why in result["failed"].items()))


def measure_all(
    corpus: str, out: Path, names: Sequence[str], minutes: float | None = None
) -> dict[str, Any]:
    """Return the rows of the systems named and of their mixtures, and which failed and why."""
    out.mkdir(parents=True, exist_ok=True)
    with working("reading the corpus"):
        text = read_corpus(corpus)
    done, failed = {}, {}
    for name in names:
        say(f"{name}: {SYSTEMS[name].title}")
        try:
            done[name] = _row(name, out, text, corpus, minutes)
            say(f"{name}: test perplexity {done[name]['perplexity']:.2f}")
        except Exception as error:  # whatever it is, the other rows are measured
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            say(f"{name} failed: {failed[name]}")
    rows = list(done.values())
    networks = [name for name in done if SYSTEMS[name].method is None]
    if networks and "kn5" in done:
        best = min(networks, key=lambda name: done[name]["valid_perplexity"])
        pair = {name: done[name] for name in (best, "kn5")}
        rows.append(_mixture(f"{done[best]['system']} + KN5", pair, out, text))
    if len(done) > 1:
        rows.append(_mixture("all of them mixed", done, out, text))
    facts = {"corpus": called(text), "sha256": text.sha256, "minutes": minutes, "caveat": CAVEAT}
    return {**facts, "rows": rows, "failed": failed}


def _row(name: str, out: Path, text: Corpus, corpus: str, minutes: float | None) -> dict[str, Any]:
    """Return the row of a system: make it, or go on making it, unless it is done."""
    file, place, system = out / f"{name}.json", out / name, SYSTEMS[name]
    given: dict[str, Any] = {"sha256": text.sha256, "method": system.method}
    if system.method is None:
        given |= {"recipe": [asdict(part) for part in RECIPES[name]], "minutes": minutes}
    if file.exists():
        kept = json.loads(file.read_text("utf-8"))
        if changed := [what for what in given if kept["given"].get(what) != given[what]]:
            raise ValueError(f"{file} was made with another {', '.join(changed)}; remove it")
        return kept["row"]
    seconds = (_estimate if system.method else _train)(name, place, text, corpus, minutes)
    command = f"ngram fit --method {system.method}" if system.method else f"train --recipe {name}"
    model = load(place)
    with working("measuring valid and test perplexity"):
        score = partial(metrics.token_log_probs, model.lm, model.params, start=text.vocab.eos)
        logp = {"valid": score(text.valid), "test": score(text.test)}
    np.savez(out / f"{name}.npz", valid=logp["valid"], test=logp["test"])
    fields = {"system": name, "seed": SEED} | ({} if minutes is None else {"minutes": minutes})
    row = _measured(system, logp, text, fields, seconds=seconds, parameters=_size(model.params))
    row["command"] = f"lmjax {command} --corpus {corpus} --out {place}"
    if system.method is None and RECIPES[name].model.cell.startswith("lstm"):
        options: dict[str, Any] = {"seed": SEED, "valid": text.valid, "cache": CACHE}
        answer, _ = told(measure(model.lm, model.params, text, "test", **options), "test")
        row |= {what: answer[what] for what in WITH_CACHE}
    if not math.isfinite(row["perplexity"]):
        raise FloatingPointError("the test perplexity is not finite")
    write(file, to_json({"given": given, "row": row}, indent=1).encode())
    return row


def _estimate(name: str, place: Path, text: Corpus, corpus: str, minutes: float | None) -> float:
    """Make the file of a counted model; return the seconds it took."""
    begin, method = time.perf_counter(), cast(Method, SYSTEMS[name].method)
    with redirect_stdout(sys.stderr):
        fit(place, corpus=corpus, method=method, discount_fallback=method == "mkn")
    return time.perf_counter() - begin


def _train(name: str, place: Path, text: Corpus, corpus: str, minutes: float | None) -> float:
    """Train a recipe in a directory, or go on there; return the seconds it took in all."""
    source = {"corpus": place_of(corpus), "level": "word", "min_count": 1, "seed": SEED}
    train_in(place, text, RECIPES[name], source, minutes=minutes, resume=True)
    return read_meta(place / LAST)["seconds"]


def _size(params) -> int:
    """Count what a model has learnt: its n-grams, its links, or its weights."""
    match params.head:
        case ngram.NGram() as model:
            return sum(ngram.storage(model).ngrams)
        case snm.SNM(features=features):
            return sum(len(feature.follower) for feature in features)
        case _:
            leaves = jax.tree.leaves(params)
            return sum(x.size for x in leaves if jnp.issubdtype(x.dtype, jnp.floating))


def _measured(system: System, logp, text: Corpus, fields, **costs) -> dict[str, Any]:
    """Return a row from the log-probabilities of the tokens of two splits."""
    unk, tokens = text.vocab.unk, len(text.test)
    signature = metrics.signature(
        **fields, corpus=called(text), split="test", tokens=tokens, batch_size=1
    )
    result = metrics.summary(logp["test"], text.test == unk, seconds=0, signature=signature)
    valid = metrics.summary(logp["valid"], text.valid == unk, seconds=0, signature="")
    return {
        "system": system.title,
        **result._asdict(),
        "valid_perplexity": valid.perplexity,
        **costs,
        "published": system.published and system.published._asdict(),
    }


def _mixture(title: str, parts: dict[str, dict], out: Path, text: Corpus) -> dict[str, Any]:
    """Return the row of a mixture, its weights those of the validation text."""
    each = [np.load(out / f"{name}.npz") for name in parts]
    logp = {split: jnp.stack([found[split] for found in each]) for split in ("valid", "test")}
    weights = mixture_weights(logp["valid"])
    mixed = {split: jax.nn.logsumexp(x, 0, b=weights[:, None]) for split, x in logp.items()}
    shares = dict(zip(parts, weights.tolist(), strict=True))
    listed = " + ".join(f"{share:.4f} {name}" for name, share in shares.items())
    costs = {what: sum(row[what] for row in parts.values()) for what in ("seconds", "parameters")}
    fields = {"mixture": listed, "seed": SEED}
    command = " ".join(["lmjax mix", *(str(out / name) for name in parts)])
    row = _measured(System(title), mixed, text, fields, **costs)
    return {**row, "command": command, "weights": shares}


def lines(result: dict) -> list[str]:
    """Return the table as lines of text."""
    shown = [
        ("system", "perplexity", "valid", "parameters", "training", "with cache *", "published **")
    ]
    notes = []
    for row in result["rows"]:
        published, cached = row["published"], row.get("perplexity_with_cache")
        shown.append(
            (
                row["system"],
                f"{row['perplexity']:.2f}",
                f"{row['valid_perplexity']:.2f}",
                f"{row['parameters']:,}",
                f"{row['seconds']:,.0f} s",
                f"{cached:.2f}" if cached else "",
                f"{published['perplexity']}" if published else "",
            )
        )
        if published:
            notes.append("  {perplexity}: {system}. {source}".format(**published))
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    rows = [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
        for name, *cells in shown
    ]
    caveat = textwrap.wrap(f"** {result['caveat']}", 100, subsequent_indent="  ")
    return [*rows, f"on {result['corpus']}", LEARNS, *caveat, *notes]


def figure(result: dict):
    """Draw perplexity against the seconds of training and against the parameters."""
    import lmjax.plot as plot  # matplotlib takes a second to import

    costs = {"seconds": "training, seconds", "parameters": "n-grams, links or weights"}
    axes = plot.panels(2, size=(11, 4))
    for ax, (cost, xlabel) in zip(axes, costs.items(), strict=True):
        points = {row["system"]: (row[cost], row["perplexity"]) for row in result["rows"]}
        plot.systems(points, xlabel=xlabel, ax=ax)
    axes[0].legend().remove()
    return axes[0].figure


COMMANDS: dict[str, Callable[..., Any]] = {"table": table}
