"""The command `train`, as it is interrupted, started again, moved, and given what cannot be."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import lmjax
from lmjax import cli
from lmjax.cli.terminal import to_json
from lmjax.train.checkpoint import read_meta

TINY = ("--cell", "rnn", "--hidden", 4, "--batch-size", 2, "--bptt", 8)
ROOT = Path(lmjax.__file__).parents[1]


@pytest.fixture
def corpus(tmp_path):
    """Six lines a split."""
    (tmp_path / "a").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "a" / f"{split}.txt").write_text("a b c d\nb c\n" * 3, "utf-8")
    return tmp_path / "a"


def numbers(out):
    answer = json.loads(out, parse_constant=pytest.fail)
    return answer["perplexity"], answer["valid_perplexity"], answer["tokens"]


def test_worse_than_the_unigram_model_is_not_a_success(call, corpus, tmp_path):
    """One epoch of three steps is near the uniform distribution, and says so; more are not."""
    words = ("train", "--corpus", corpus, *TINY, "--out", tmp_path / "r", "--lr", 0.02, "--json")
    status, out, err = call(*words, "--epochs", 1)
    answer = json.loads(out)
    assert answer["perplexity"] > answer["unigram_perplexity"]
    assert status == 1 and err.splitlines()[-1].startswith("lmjax: worse than the unigram model")
    assert json.loads(call("eval", tmp_path / "r", "--json")[1])["tokens"] == 24
    status, out, err = call(*words, "--epochs", 60, "--resume")
    assert status == 0 and "worse" not in err


def test_a_training_that_diverged_is_not_a_success(call, corpus, tmp_path):
    status, out, err = call(
        *("train", "--corpus", corpus, *TINY, "--out", tmp_path / "r", "--lr", 1e6, "--json")
    )
    if out:
        numbers(out)
    assert status == 1 and "Traceback" not in err
    assert "smaller learning rate" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("left", "resume"),
    [
        ((), ("--resume",)),
        (("config.json",), ()),
        (("config.json", "vocab.json"), ("--resume",)),
    ],
)
def test_a_run_that_ended_before_its_first_checkpoint_starts_again(
    call, corpus, tmp_path, left, resume
):
    words = ("train", "--corpus", corpus, *TINY, "--epochs", 1, "--json", "--out")
    whole = numbers(call(*words, tmp_path / "whole")[1])
    (tmp_path / "r").mkdir()
    for name in left:
        shutil.copy(tmp_path / "whole" / name, tmp_path / "r")
    assert numbers(call(*words, tmp_path / "r", *resume)[1]) == whole


def test_a_corpus_that_moved_is_the_same_and_another_text_in_its_place_is_not(
    call, corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = ("train", *TINY, "--out", "r", "--json")
    first = numbers(call(*words, "--corpus", "a", "--epochs", 1)[1])
    shutil.copytree("a", "copy")
    for place in ("./a/", corpus, "copy"):
        again = call(*words, "--corpus", place, "--epochs", 1, "--resume")
        assert numbers(again[1]) == first, again
    monkeypatch.chdir("/")
    assert json.loads(call("eval", tmp_path / "r", "--json")[1])["perplexity"] == first[0]
    monkeypatch.chdir(tmp_path)
    with (corpus / "train.txt").open("a") as file:
        file.write("d\n")
    status, out, err = call(*words, "--corpus", "a", "--epochs", 1, "--resume")
    assert (status, out) == (2, "") and "--corpus is another text" in err.splitlines()[-1]


def test_what_may_not_differ_is_named_by_its_flag(call, corpus, tmp_path):
    words = ("train", "--corpus", corpus, *TINY, "--out", tmp_path / "r", "--epochs", 1)
    call(*words)
    for flag, value in (("--bptt", 9), ("--hidden", 5), ("--lr", 0.5), ("--drop-input", 0.1)):
        status, _, err = call(*words, "--resume", flag, value)
        assert status == 2 and f"resume: {flag} was" in err.splitlines()[-1]
    assert call(*words, "--resume", "--patience", 3, "--minutes", 9)[0] == 1
    status, _, err = call(*words)
    assert status == 2 and "--resume goes on with it" in err


def test_a_rate_that_falls_at_plateaus_and_an_average_are_saved(call, corpus, tmp_path):
    """At a rate that moves no parameter no epoch but the first makes the validation better."""
    words = ("train", "--corpus", corpus, *TINY, "--lr", 1e-30, "--epochs", 3, "--json")
    chosen = ("--optimizer", "adagrad", "--decay", "plateau", "--average", "asgd")
    status, out, _ = call(*words, *chosen, "--out", tmp_path / "r")
    assert status == 1 and json.loads(out)["perplexity"] > 1
    with safe_open(tmp_path / "r" / "last.safetensors", "numpy") as file:
        scale = next(name for name in file.keys() if name.endswith("scale"))  # noqa: SIM118
        assert file.get_tensor(scale) == 0.25**2
    assert read_meta(tmp_path / "r" / "last.safetensors")["averaged"] == 2
    status, _, err = call(*words, *chosen, "--out", tmp_path / "r", "--resume", "--average", "ema")
    assert status == 2 and "resume: --average was 'asgd'" in err.splitlines()[-1]


def test_a_run_with_maximum_entropy_features_is_trained_and_comes_back(call, corpus, tmp_path):
    words = ("train", "--corpus", corpus, *TINY, "--head", "tied_sampled", "--epochs", 1, "--json")
    trained = json.loads(call(*words, "--maxent", 3, "--out", tmp_path / "r")[1])
    words_read = ("--cache", 9, "--dynamic")
    found = json.loads(call("eval", tmp_path / "r", *words_read, "--json")[1])
    assert found["perplexity"] == trained["perplexity"]
    assert found["perplexity_with_cache"] > 1 and found["perplexity_dynamic"] > 1
    status, _, err = call(*words, "--maxent", 1, "--out", tmp_path / "no")
    assert status == 2 and "maxent: order: must be at least 2, got 1" in err


OWN = """
import jax, jax.numpy as jnp
from lmjax.cell import Cell

def leaky(n_in, n):
    return Cell(
        init=lambda key: {
            "a": jnp.float32(0.5),
            "w_x": 0.3 * jax.random.normal(key, (n_in, n)),
            "w_h": 0.3 * jax.random.normal(key, (n, n)),
        },
        initial_state=lambda p, batch_shape=(): jnp.zeros((*batch_shape, n), p["w_h"].dtype),
        step=lambda p, h, x: p["a"] * h + jnp.tanh(x @ p["w_x"] + h @ p["w_h"]),
    )

no_cell = lambda n_in, n: None
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A directory with a module of one's own, and a name for it that nobody else has."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("import lmjax.nothing\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_cell_of_ones_own_is_trained_saved_loaded_and_diagnosed(call, corpus, own, tmp_path):
    (corpus / "test.txt").write_text("a b c d\nb c\n" * 20, "utf-8")
    words = ("train", "--corpus", corpus, *TINY, "--out", "r", "--cell", f"{own}:leaky")
    status, out, err = call(*words, "--epochs", 30, "--lr", 0.05, "--layers", 2, "--json")
    assert status == 0, err
    answer = json.loads(call("eval", "r", "--json")[1])
    assert answer["perplexity"] == json.loads(out)["perplexity"]
    status, out, err = call("diagnose", "r", "--out", tmp_path / "d", "--json")
    assert status == 0 and f"{own}:leaky" in json.loads(out)["models"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("nowhere:leaky", "cannot import the module 'nowhere' from"),
        ("{own}:leeky", "has no function 'leeky'"),
        ("{own}:number", "has no function 'number'"),
        ("{own}:no_cell", "must return a lmjax.cell.Cell, not NoneType"),
        ("{own}_broken:leaky", "No module named 'lmjax.nothing'"),
        (":leaky", "cannot import the module ''"),
        ("leaky", "must be one of rnn"),
    ],
)
def test_a_cell_that_is_not_there_is_named(call, corpus, own, cell, message):
    cell = cell.format(own=own)
    status, out, err = call("train", "--corpus", corpus, *TINY, "--out", "r", "--cell", cell)
    last = err.splitlines()[-1]
    assert (status, out) == (2, "") and last.startswith("lmjax: cell: ") and message in last


def test_json_has_no_nan_and_no_infinity():
    answer = {"a": [np.float64("nan"), (float("inf"), -float("inf"))], "b": {"c": 1.5, "d": "NaN"}}
    read = json.loads(to_json(answer), parse_constant=pytest.fail)
    assert read == {"a": [None, [None, None]], "b": {"c": 1.5, "d": "NaN"}}


def start(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "lmjax.cli", *map(str, words)],
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        **options,
    )


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "after"), [(signal.SIGINT, "reading"), (signal.SIGTERM, "validation perplexity")]
)
def test_the_command_ends_quietly_where_a_signal_falls(corpus, tmp_path, number, after):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a child ignores it too
    words = ("train", "--corpus", corpus, *TINY, "--epochs", 10**6, "--out", tmp_path / "r")
    with start(*words, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        signal.signal(signal.SIGINT, before)
        said = next(line for line in process.stderr if after in line)
        process.send_signal(number)
        _, rest = process.communicate(timeout=300)
    assert process.returncode == 128 + number and said
    assert rest.splitlines()[-1] == f"lmjax: {cli.INTERRUPTED}" and "Traceback" not in rest
    assert (after == "reading") != (tmp_path / "r" / "last.safetensors").exists()


def test_a_broken_pipe_ends_quietly(tmp_path):
    (tmp_path / "model.arpa").write_text(
        "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-1\t</s>\n-1\t<unk>\n\n\\end\\\n"
    )
    for words in (("--help",), ("ngram", "report", tmp_path / "model.arpa")):
        read, write = os.pipe()
        os.close(read)
        with start(*words, stdout=write, stderr=subprocess.PIPE) as process:
            os.close(write)
            _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_one_line_that_names_the_file(corpus, tmp_path):
    """No file may be larger than 3,000 bytes; the last checkpoint is."""
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
        "from lmjax.cli import main; main()"
    )
    words = ("train", "--corpus", corpus, *TINY, "--hidden", 8, "--epochs", 1, "--out", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", limited, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last == f"lmjax: {tmp_path}/last.safetensors: File too large"
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]
