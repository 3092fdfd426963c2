"""The commands, as a user types them: results on stdout, one line and status 2 for a mistake."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmjax import cli, data
from lmjax.cli import demo
from lmjax.models import ngram


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for split, lines in (("train", 60), ("valid", 30), ("test", 30)):
        words = rng.choice(["the", "cat", "sat", "<b>", "고양이"], (lines, 6))
        (path / f"{split}.txt").write_text("\n".join(map(" ".join, words)) + "\n", encoding="utf-8")
    return path


def command(*words) -> int:
    """Run `lmjax ...` in this process; return the exit status."""
    argv, sys.argv = sys.argv, ["lmjax", *map(str, words)]
    try:
        cli.main()
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = argv
    return 0


@pytest.fixture
def call(capsys):
    """Run `lmjax ...`; return (exit status, stdout, stderr)."""
    return lambda *words: (command(*words), *capsys.readouterr())


# enough to know when a line ends, and so to beat the unigram model
SHAPE = ("--hidden", 8, "--epochs", 8, "--batch-size", 4, "--bptt", 14, "--lr", 0.05)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert command("train", "--corpus", corpus, "--out", out, *SHAPE) == 0
    return out


def test_train_then_eval_give_one_number(call, corpus, trained):
    status, out, _ = call("eval", trained, "--corpus", corpus, "--split", "test", "--json")
    answer = json.loads(out)
    assert status == 0 and answer["tokens"] == 30 * 7
    assert answer["perplexity"] == pytest.approx(np.exp(answer["nll"]))
    assert {"seconds", "signature"} <= set(answer)
    again = json.loads(call("eval", trained, "--json")[1])  # the training's corpus by default
    assert again["perplexity"] == answer["perplexity"]


def test_train_says_what_it_measured_and_refuses_to_overwrite(call, corpus, trained):
    words = ["train", "--corpus", corpus, "--out", trained, *SHAPE]
    assert call(*words)[0] == 2
    status, out, err = call(*words, "--resume", "--json")
    assert status == 0 and json.loads(out)["tokens"] == 30 * 7 and "Traceback" not in err
    assert {"imports", "corpus", "start"} <= set(json.loads(out)["first_step"])
    status, _, err = call(*words, "--resume", "--seed", "1")
    assert status == 2 and "seed was 0 when the run began, now it is 1" in err


def test_generate_and_complete(call, trained):
    _, out, err = call("generate", trained, "--prompt", "the dog", "--length", "7", "--json")
    assert json.loads(out)["tokens"] == 7 and "<unk>: dog" in err
    first = call("generate", trained, "--length", "7")[1]
    assert first == call("generate", trained, "--length", "7")[1] and "<unk>" not in first
    _, out, _ = call("complete", trained, "the cat", "--count", "3", "--json")
    assert len(json.loads(out)["suggestions"]) == 3
    assert len(call("complete", trained, "the cat")[1].splitlines()) == 5


def test_diagnose_writes_one_page_with_all_in_it(call, trained, tmp_path):
    status, out, _ = call("diagnose", trained, "--out", tmp_path / "d", "--json")
    answer = json.loads(out)
    page = (tmp_path / "d" / "report.html").read_text("utf-8")
    assert status == 0 and page.count("data:image/svg+xml") == 12
    assert all(f"lstm, W<sub>{gate}</sub>" in page for gate in "ifgo")
    assert "http" not in page.replace("http://www.w3.org", "").split("<body>")[0]
    assert {"spectral_radius_before", "spectral_radius_after", "clipped"} <= set(
        answer["models"]["lstm"]
    )


def test_compare_shows_runs_side_by_side(call, trained, tmp_path):
    other = shutil.copytree(trained, tmp_path / "other")
    status, out, _ = call("compare", trained, other, "--out", tmp_path / "c", "--json")
    assert status == 0 and set(json.loads(out)["models"]) == {Path(trained).name, "other"}
    assert "other, W<sub>f</sub>" in (tmp_path / "c" / "report.html").read_text("utf-8")
    status, _, err = call("compare", trained, trained, "--out", tmp_path / "c")
    assert status == 2 and "two different ones" in err


def test_demo_compares_networks_with_an_n_gram_model(call, tmp_path, monkeypatch, corpus):
    text = data.directory(corpus)
    monkeypatch.setattr(demo.data, "stdlib", lambda **_: text)
    monkeypatch.setattr(demo, "MODEL", demo.Model(hidden=8))
    monkeypatch.setattr(demo, "EPOCHS", 1)
    status, out, err = call("demo", "--out", tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert status == 0 and out.splitlines()[-1].endswith("report.html")
    assert page.count("data:image/svg+xml") == 16 and "<b>" not in page
    assert "validation perplexity" in err and "unigram baseline" in err

    answer = json.loads((tmp_path / "report.json").read_text("utf-8"))
    names = ["unigram", "rnn", "lstm", "Kneser-Ney 5-gram", "lstm + Kneser-Ney 5-gram"]
    assert list(answer["perplexity"]) == names and f"tokens:{len(text.test)}" in answer["signature"]
    for name, value in answer["perplexity"].items():  # one number in the page and in the answer
        assert f"<tr><td>{name}</td><td>{value:.1f}</td>" in page
        assert f"{name} {value:.1f}" in out.splitlines()[0]
    counts = ngram.count(text.train, 5, size=len(text.vocab), eos=text.vocab.eos)
    model = ngram.index(ngram.modified_kneser_ney(counts, fallback=ngram.FALLBACK))
    nll = -np.asarray(ngram.log_prob(model, text.test), float).mean()
    assert answer["nll"]["Kneser-Ney 5-gram"] == pytest.approx(nll, rel=1e-6)
    assert sum(answer["weights"].values()) == pytest.approx(1, rel=1e-5)


BAD = {
    "no directory": ("train --corpus {p}/none --out {p}/r", "none is not a directory"),
    "no files": ("train --corpus {p} --out {p}/r", "holds no {{train,valid,test}}.txt"),
    "empty": ("train --corpus {c} --out {p}/r", "train.txt is empty"),
    "one word": ("train --corpus {c} --out {p}/r", "at least 2 distinct symbols"),
    "not utf-8": ("train --corpus {c} --out {p}/r", "line 1 is not UTF-8"),
    "negative size": (
        "train --corpus {good} --out {p}/r --hidden -3",
        "hidden: must be at least 1, got -3",
    ),
    "negative batch": (
        "train --corpus {good} --out {p}/r --batch-size -1",
        "batch_size: must be at least 1, got -1",
    ),
    "no epochs": ("train --corpus {good} --out {p}/r --epochs 0", "must be at least 1, got 0"),
    "negative clip": ("train --corpus {good} --out {p}/r --clip -1", "--clip: must be positive"),
    "no clip": ("train --corpus {good} --out {p}/r --clip 0", "--clip: must be positive, got 0.0"),
    "no rate": ("train --corpus {good} --out {p}/r --lr 0", "--lr: must be positive"),
    "infinite rate": ("train --corpus {good} --out {p}/r --lr inf", "--lr: must be positive and"),
    "dropout": (
        "train --corpus {good} --out {p}/r --drop-input 1",
        "dropout.input must be in [0, 1), got 1.0",
    ),
    "cell": ("train --corpus {good} --out {p}/r --cell lsd", "cell: must be one of"),
    "vocabulary of one": (
        "train --corpus {good} --out {p}/r --min-count 99999",
        "min_count=99999 dropped",
    ),
    "no run": ("eval {p} --corpus {good}", "config.json is missing"),
    "split": ("eval {run} --corpus {good} --split dev", "split: must be train, valid or test"),
    "damaged": ("eval {damaged} --corpus {good}", "damaged"),
}
CONTENT = {"empty": b"", "one word": b"hello\n", "not utf-8": b"\xff\xfe\n"}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_and_status_2(call, name, corpus, trained, tmp_path):
    bad = tmp_path / "corpus"
    shutil.copytree(corpus, bad)
    (bad / "train.txt").write_bytes(CONTENT.get(name, b"a b\n"))
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    (damaged / "best.safetensors").write_bytes((trained / "best.safetensors").read_bytes()[:-9])
    words, message = (
        x.format(p=tmp_path, c=bad, good=corpus, run=trained, damaged=damaged) for x in BAD[name]
    )
    status, out, err = call(*words.split())
    last = err.splitlines()[-1]
    assert status == 2 and out == "" and last.startswith("lmjax: ") and message in last, err
    assert "Traceback" not in err


def test_the_installed_command_explains_itself():
    done = subprocess.run(
        [sys.executable, "-m", "lmjax.cli", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "train" in done.stdout and "usage: lmjax" in done.stdout
