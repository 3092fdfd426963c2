"""The commands `lmjax ngram`, as a user calls them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tyro

from lmjax import data
from lmjax.cli.ngram import COMMANDS
from lmjax.models import ngram as ng

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus")
    lines = (GOLDEN / "story.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    test = [*lines[75:], "the zebra <unk> .\n"]
    for split, part in (("train", lines), ("valid", lines[60:75]), ("test", test)):
        (path / f"{split}.txt").write_text("".join(part), "utf-8")
    return path


@pytest.fixture(scope="module")
def model(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "story.ngram"
    call("fit", "--corpus", corpus, "--order", 3, "--out", out)
    return out


def call(*args):
    tyro.extras.subcommand_cli_from_dict(COMMANDS, args=[str(a) for a in args])


@pytest.fixture
def answer(capsys):
    def ask(*args):
        capsys.readouterr()
        call(*args, "--json")
        return json.loads(capsys.readouterr().out)

    return ask


def test_eval_scores_every_token_and_counts_the_unknown(model, corpus, answer):
    result = answer("eval", model, "--corpus", corpus, "--split", "test")
    text = data.directory(corpus)
    fitted, vocab, _ = ng.load(model)
    assert vocab == text.vocab
    assert result["tokens"] == len(text.test)
    assert result["oov"] == 1  # the zebra; <unk> is a word of the text
    logp = np.asarray(ng.log_prob(fitted, text.test), float)
    assert result["perplexity"] == pytest.approx(np.exp(-logp.mean()))
    assert "split:test" in result["signature"]


def test_a_text_becomes_the_arpa_of_lmplz(tmp_path, answer):
    for name, options in (
        ("story.3", ()),
        ("story.3.prune", ("--prune", 0, 0, 1)),
        ("tiny.5", ("--discount-fallback",)),
    ):
        text, order = GOLDEN / f"{name.split('.')[0]}.txt", name.split(".")[1]
        out = tmp_path / "x.arpa"
        result = answer("fit", "--text", text, "--order", order, "--out", out, *options)
        assert out.read_bytes() == (GOLDEN / f"{name}.arpa").read_bytes()
        assert result["out"].endswith("x.arpa")
    text, out = GOLDEN / "story.txt", tmp_path / "pruned.arpa"
    call("fit", "--text", text, "--order", 3, "--prune", 1, "--out", out)


def test_arpa_converts_both_ways(model, corpus, tmp_path, answer):
    answer("arpa", model, "--out", tmp_path / "x.arpa.gz")
    answer("arpa", tmp_path / "x.arpa.gz", "--out", tmp_path / "back")
    perplexities = {
        answer("eval", file, "--corpus", corpus)["perplexity"]
        for file in (model, tmp_path / "x.arpa.gz", tmp_path / "back")
    }
    assert len(perplexities) == 1


@pytest.mark.parametrize("method", ["kn", "add", "stupid", "mle"])
def test_every_method_is_fitted_and_says_what_it_is(method, corpus, tmp_path, answer):
    options = ("--order", 2, "--method", method, "--quantise")
    result = answer("fit", "--corpus", corpus, "--out", tmp_path / "m", *options)
    assert f"method:{method}" in result["signature"]
    if method == "stupid":
        with pytest.raises(ValueError, match="a score, not a distribution"):
            call("eval", tmp_path / "m", "--corpus", corpus)
    elif method == "mle":
        scored = answer("eval", tmp_path / "m", "--corpus", corpus)
        assert scored["perplexity"] is None
        assert scored["impossible"] > 0
    else:
        assert answer("eval", tmp_path / "m", "--corpus", corpus)["perplexity"] > 1


def test_generate_complete_and_report(model, corpus, answer, capsys):
    text = answer("generate", model, "--length", 12, "--prompt", "the student", "--seed", 3)
    assert text["tokens"] == 12
    assert answer("generate", model, "--length", 12, "--prompt", "the student", "--seed", 3) == text
    words = answer("complete", model, "the old")["suggestions"]
    p = [w["probability"] for w in words]
    assert p == sorted(p, reverse=True)
    shown = answer("report", model, "--corpus", corpus)
    assert len(shown["ngrams"]) == len(shown["unseen_ngram"]) == 3
    call("report", model)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_characters_work_as_well(corpus, tmp_path, answer):
    options = ("--level", "char", "--method", "add", "--delta", 0.1)
    answer("fit", "--corpus", corpus, "--out", tmp_path / "c", *options)
    assert answer("eval", tmp_path / "c", "--corpus", corpus)["perplexity"] < 30
    with pytest.raises(ValueError, match="no place for the word ' '"):
        call("arpa", tmp_path / "c", "--out", tmp_path / "c.arpa")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("fit", "--out", "x"), "either --corpus or --text"),
        (
            ("fit", "--corpus", "CORPUS", "--out", "x", "--prune", "1"),
            "the first threshold must be 0",
        ),
        (
            ("fit", "--corpus", "CORPUS", "--out", "x", "--method", "kn", "--prune", "0"),
            "options of mkn, not of kn",
        ),
        (("fit", "--corpus", "CORPUS", "--out", "x", "--order", "0"), "order: at least 1, got 0"),
        (("fit", "--text", "EMPTY", "--out", "x"), "no words in 0 lines"),
        (("eval", "EMPTY", "--corpus", "CORPUS"), "empty.txt: line 1: expected"),
        (("eval", "MODEL", "--corpus", "MODEL"), "holds no train.txt|holds no test.txt"),
        (("complete", "MODEL", "the", "--count", "0"), "count must be at least 1"),
    ],
)
def test_refusals_are_one_line(args, message, corpus, model, tmp_path):
    (tmp_path / "empty.txt").touch()
    places = {"CORPUS": corpus, "MODEL": model}
    places |= {"EMPTY": tmp_path / "empty.txt", "x": tmp_path / "x"}
    with pytest.raises(ValueError, match=message) as caught:
        call(*(places.get(a, a) for a in args))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_a_missing_file_is_an_error_of_the_system(corpus, model, tmp_path):
    with pytest.raises(OSError, match="nothing"):
        call("eval", tmp_path / "nothing", "--corpus", corpus)
    shutil.copytree(corpus, tmp_path / "copy")
    (tmp_path / "copy" / "test.txt").unlink()
    with pytest.raises(ValueError, match=r"holds no test\.txt"):
        call("eval", model, "--corpus", tmp_path / "copy")
