"""The command mix, and sparse matrices on the command line, as a user calls them."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import tyro

from lmjax import train
from lmjax.cli import mixing, ngram, training

GOLDEN = Path(__file__).parents[1] / "golden"


def call(command, *args):
    commands = mixing.COMMANDS | ngram.COMMANDS | {"train": training.train}
    tyro.extras.subcommand_cli_from_dict(commands, args=[command, *map(str, args)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus, an n-gram model and a sparse matrix of it."""
    path = tmp_path_factory.mktemp("corpus")
    lines = (GOLDEN / "story.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    for split, part in (("train", lines), ("valid", lines[60:75]), ("test", lines[75:])):
        (path / f"{split}.txt").write_text("".join(part), "utf-8")
    call("fit", "--corpus", path, "--order", 3, "--out", path / "kn3", "--discount-fallback")
    call("fit", "--corpus", path, "--order", 3, "--out", path / "snm3", "--method", "snm")
    return path


@pytest.fixture
def answer(capsys, place):
    def ask(*args):
        capsys.readouterr()
        call(*args, "--corpus", place, "--json")
        return json.loads(capsys.readouterr().out)

    return ask


def test_a_sparse_matrix_is_scored_writes_and_suggests(place, answer, capsys):
    score = answer("eval", place / "snm3")
    assert 1 < score["perplexity"] < 100 and "method:snm|order:3|seed:0" in score["signature"]
    call("complete", place / "snm3", "the", "--json")
    found = json.loads(capsys.readouterr().out)["suggestions"]
    assert len(found) == 5 and all(0 < each["probability"] < 1 for each in found)
    with pytest.raises(ValueError, match="a sparse matrix, which stores no n-grams"):
        call("report", place / "snm3")
    with pytest.raises(ValueError, match="for n-gram models, not for snm"):
        call("fit", "--corpus", place, "--out", place / "x.arpa", "--method", "snm")


def test_the_mixture_is_at_least_as_good_as_each_on_the_validation_text(place, answer):
    mixed = answer("mix", place / "kn3", place / "snm3", "--split", "valid")
    alone = [answer("eval", place / name, "--split", "valid") for name in ("kn3", "snm3")]
    assert mixed["perplexity"] <= min(score["perplexity"] for score in alone) * (1 + 1e-6)
    assert sum(mixed["weights"].values()) == pytest.approx(1, abs=1e-5)
    assert mixed["tokens"] == alone[0]["tokens"]


def test_a_run_is_mixed_as_well(place, answer, tmp_path):
    settings = ("--hidden", 4, "--epochs", 1, "--batch-size", 2, "--bptt", 8)
    with suppress(SystemExit):  # it may be worse than unigram, and is kept
        call("train", "--corpus", place, *settings, "--cell", "rnn", "--out", tmp_path / "run")
    found = answer("mix", tmp_path / "run", place / "kn3")
    assert found["weights"][str(place / "kn3")] > 0.5
    assert train.load_run(tmp_path / "run").vocab.symbols


def test_what_cannot_be_mixed_is_refused(place, tmp_path):
    (tmp_path / "t.txt").write_text("a b c a b\n", "utf-8")
    other = tmp_path / "other"
    call("fit", "--text", tmp_path / "t.txt", "--order", 1, "--method", "add", "--out", other)
    with pytest.raises(ValueError, match="other has another vocabulary than"):
        call("mix", place / "kn3", other, "--corpus", place)
    with pytest.raises(ValueError, match="mix: two models at least, got 1"):
        call("mix", place / "kn3", "--corpus", place)
