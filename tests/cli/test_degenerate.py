"""Corpora with next to nothing in them: the right answer, or one line that says what is missing."""

import json
import math
import sys

import pytest

from lmjax import cli

TINY = ("--cell", "rnn", "--hidden", 4, "--epochs", 1, "--json")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two corpora of one line without its end.

    `one` is ten words of three kinds, with an empty line to validate on and a word never seen in
    the test text; `two` is two words.
    """
    place = tmp_path_factory.mktemp("place")
    texts = {"one": ("a b c a b a c b a b", "\n", "a d c"), "two": ("a b", "a", "b\n")}
    for name, parts in texts.items():
        (place / name).mkdir()
        for split, text in zip(("train", "valid", "test"), parts, strict=True):
            (place / name / f"{split}.txt").write_text(text)
    return place


@pytest.fixture
def call(capsys):
    """Run `lmjax ...` in this process; return (exit status, answer or None, stderr)."""

    def run(*words):
        argv, sys.argv = sys.argv, ["lmjax", *map(str, words)]
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code
        finally:
            sys.argv = argv
        out, err = capsys.readouterr()
        return status, json.loads(out, parse_constant=pytest.fail) if out else None, err

    return run


@pytest.mark.parametrize("head", ["adaptive", "class_factored", "tied_sampled"])
def test_three_words_are_enough_for_every_head(call, place, head):
    """Fewer than the cut points, classes and samples of larger vocabularies, and than the batch."""
    words = ("--corpus", place / "one", "--out", place / head, "--head", head, *TINY)
    status, answer, err = call("train", *words)
    assert status == 0 and (answer["tokens"], answer["oov"]) == (4, 1), err
    assert 3 < answer["perplexity"] < 7
    if head == "tied_sampled":  # the cache and the rate are chosen on one token
        status, found, _ = call("eval", place / head, "--cache", 5, "--dynamic", "--json")
        kinds = ("perplexity", "perplexity_with_cache", "perplexity_dynamic")
        assert status == 0
        assert [found[kind] for kind in kinds] == pytest.approx([answer["perplexity"]] * 3, rel=0.1)


@pytest.mark.parametrize("method", ["mkn", "kn", "katz", "add", "mle"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_an_order_longer_than_the_text(call, place, method, name):
    out = place / f"{method}-{name}"
    words = ("ngram", "fit", "--corpus", place / name, "--method", method, "--order", 12)
    if method in ("mkn", "kn", "katz"):
        status, answer, err = call(*words, "--out", out, "--json")
        assert (status, answer) == (2, None) and "rerun with --discount-fallback" in err
        words += ("--discount-fallback",)
    status, answer, err = call(*words, "--out", out, "--json")
    assert status == 0 and answer["tokens"] == {"one": 11, "two": 3}[name], err
    found = call("ngram", "eval", out, "--corpus", place / name, "--json")[1]
    assert found["tokens"] == {"one": 4, "two": 2}[name]
    assert (found["perplexity"] is None) == (method == "mle") == (found["impossible"] > 0)
    assert method == "mle" or 1 < found["perplexity"] < 12


def test_a_sparse_matrix_of_a_short_text(call, place):
    words = ("ngram", "fit", "--method", "snm", "--order", 2, "--json")
    status, _, err = call(*words, "--corpus", place / "two", "--out", place / "snm-two")
    assert status == 2 and "at least 8 tokens are needed" in err.splitlines()[-1]
    status, answer, err = call(*words, "--corpus", place / "one", "--out", place / "snm")
    assert status == 0 and answer["tokens"] == 11, err


def test_a_mixture_weighed_on_one_token(call, place):
    """One of the models gives the unknown word no probability."""
    for method in ("add", "mle"):
        words = ("--corpus", place / "one", "--order", 3, "--method", method)
        call("ngram", "fit", *words, "--out", place / method, "--json")
    found = call("mix", place / "add", place / "mle", "--corpus", place / "one", "--json")[1]
    assert found["tokens"] == 4 and 1 < found["perplexity"] < math.inf
    assert sum(found["weights"].values()) == pytest.approx(1)
