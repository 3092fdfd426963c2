"""The commands translate: pairs are learned, measured against references, and translated."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
from sacrebleu.metrics import BLEU

from lmjax.cli import translating
from lmjax.train import TranslatorModel, TranslatorTraining

NAMES = ["Tom", "Ann", "Bo", "Mia", "Leo", "Zoe", "Max", "Eva"]
VERBS = {"runs": "corre", "eats": "come", "sings": "canta", "reads": "lee"}
LINES = [
    f"{a} {verb}, {b}!\t¡{a} {other}, {b}!\tCC-BY"
    for a in NAMES
    for b in NAMES
    for verb, other in VERBS.items()
]
SHAPE = TranslatorModel(cell="rnn", hidden=32, dropout=0, label_smoothing=0)
HOW = TranslatorTraining(epochs=40, batch_tokens=200, lr=0.02)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join([*LINES, "Tom eats, Bo!\t¡Tom almuerza, Bo!"]), "utf-8")
    return path


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    translating.train((str(pairs),), out, SHAPE, HOW)
    return out


def test_it_is_measured_as_sacrebleu_does(call, run):
    status, out, _ = call("translate", "eval", run, "--beam", "2", "--json")
    answer = json.loads(out)
    assert status == 0 and answer.keys() >= {"bleu", "bleu_lecture", "length_ratio", "exact"}
    assert answer["bleu_lecture"] >= answer["bleu"] > 50 and 0 < answer["exact"] <= 1
    assert "pairs:pairs.tsv:" in answer["signature"] and "split:test" in answer["signature"]
    assert answer["sacrebleu"]["score"] > 50 and "tok:13a" in answer["sacrebleu"]["signature"]
    assert {"source", "translation", "reference"} == answer["examples"][0].keys()


def test_other_pairs_are_measured_whole_and_references_gathered(call, run, tmp_path):
    (tmp_path / "source").write_text("Tom eats, Bo!\nTom eats, Bo!\nMia reads, Zoe!\n")
    (tmp_path / "target").write_text("¡Tom come, Bo!\n¡Tom cena, Bo!\n¡Mia lee, Zoe!\n")
    both = [tmp_path / "source", tmp_path / "target"]
    answer = json.loads(call("translate", "eval", run, "--pairs", *both, "--json")[1])
    assert answer["sentences"] == 2 and "split:all" in answer["signature"]
    found = [example["translation"] for example in answer["examples"]]
    columns = [["¡Tom come, Bo!", "¡Mia lee, Zoe!"], ["¡Tom cena, Bo!", None]]
    assert answer["sacrebleu"]["score"] == BLEU().corpus_score(found, columns).score


def test_lines_are_translated_the_empty_one_too(call, run):
    status, out, _ = call("translate", "run", run, "Leo sings, Max!\n\nwho is Håkon?")
    first, empty, _ = out.removesuffix("\n").split("\n")
    assert status == 0 and first.startswith("¡Leo ") and not empty
    rows = call("translate", "run", run, "Leo sings, Max!", "--nbest", "3")[1].splitlines()
    numbers, scores, texts = zip(*(row.split("\t") for row in rows), strict=True)
    assert numbers == ("1",) * 3 and texts[0] == first and len(set(texts)) == 3
    assert sorted(map(float, scores), reverse=True) == [*map(float, scores)]


def test_standard_input_is_read_by_the_line(run):
    command = [sys.executable, "-m", "lmjax.cli", "translate", "run", str(run), "--json"]
    start = partial(
        subprocess.run, command, capture_output=True, env={**os.environ, "JAX_ENABLE_X64": "1"}
    )
    (only,) = json.loads(start(input=b"Ann reads, Eva!\n").stdout)["translations"]
    assert only["source"] == "Ann reads, Eva!" and only["best"][0]["text"].startswith("¡Ann ")
    done = start(input=b"\xff\n")
    assert done.returncode == 2 and b"line 1 is not UTF-8" in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--pairs", "a", "b", "c"], "pairs: one file or two, got 3"),
        (["--pairs", "numbers", "--hidden", "0"], "hidden: must be at least 1"),
        (["--pairs", "numbers", "--max-length", "1"], "no pair has at most 1 tokens"),
        (["--pairs", "numbers", "--cell", "nix"], "cell: must be one of"),
    ],
)
def test_what_is_wrong_is_one_line(call, tmp_path, monkeypatch, words, named):
    monkeypatch.setattr(translating, "NUMBER_PAIRS", 400)
    status, _, err = call("translate", "train", "--out", tmp_path / "run", *words)
    last = err.strip().splitlines()[-1]
    assert status == 2 and last.startswith("lmjax: ") and named in last


def test_a_run_is_not_written_over_and_not_mistaken(call, run, pairs, tmp_path):
    status, _, err = call("translate", "train", "--pairs", pairs, "--out", run)
    assert status == 2 and "holds a run already" in err
    words = ["translate", "train", "--pairs", pairs, "--out", run, "--resume"]
    status, _, err = call(*words, "--cell", "gru")
    assert status == 2 and "--cell was 'rnn'" in err
    status, _, err = call("translate", "run", tmp_path, "a")
    assert status == 2 and "no translator" in err
