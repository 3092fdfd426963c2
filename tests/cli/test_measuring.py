"""What `lmjax eval` reads and says: unknown words, one split, a moved corpus, no NaN in JSON."""

import hashlib
import json
import math
import shutil
import sys

import jax
import numpy as np
import pytest

from lmjax import cli, data, metrics, train
from lmjax.cli.measuring import read_corpus, sentence
from lmjax.cli.terminal import to_json
from lmjax.metrics import Perplexity
from lmjax.train import checkpoint

TRAIN = "the red fox ran\nthe fox saw the red hen\na hen ran to the fox\n"
TEST = "the blue fox ran\nthe hen saw a <unk>\n"  # 2 of 11 tokens are unknown


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a run `r` in it that was trained on `a`, beside it."""
    place = tmp_path_factory.mktemp("place")
    (place / "a").mkdir()
    for split, text in (("train", TRAIN), ("valid", TRAIN), ("test", TEST)):
        (place / "a" / f"{split}.txt").write_text(text)
    argv, sys.argv = sys.argv, ["lmjax"]
    sys.argv += f"train --corpus {place}/a --out {place}/r --cell rnn --hidden 4".split()
    sys.argv += ["--epochs", "1", "--batch-size", "2"]
    try:
        cli.main()
    finally:
        sys.argv = argv
    config = json.loads((place / "r" / "config.json").read_text())
    (place / "r" / "config.json").write_text(json.dumps(config | {"corpus": "a"}))
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of it, seen from elsewhere."""
    shutil.copytree(trained, tmp_path / "place")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "place"


def test_unknown_words_are_counted_and_said(call, place):
    status, out, err = call("eval", place / "r", "--corpus", place / "a", "--json")
    answer = json.loads(out)
    assert status == 0 and (answer["oov"], answer["tokens"]) == (2, 11)
    run = train.load_run(place / "r")
    ids = data.directory(place / "a", vocab=run.vocab).test
    whole = metrics.perplexity(run.lm, run.params, ids, start=run.vocab.eos, unknown=run.vocab.unk)
    assert answer["perplexity_without_oov"] == whole.perplexity_without_oov
    assert answer["perplexity_without_oov"] != answer["perplexity"]
    assert "the perplexity includes 2 words that the model never saw" in err
    _, out, _ = call("eval", place / "r", "--corpus", place / "a")
    said = f"unknown words: 2 (18.2%), perplexity {answer['perplexity_without_oov']:.3f} without"
    assert said in out
    _, out, err = call("eval", place / "r", "--corpus", place / "a", "--split", "train", "--json")
    assert json.loads(out)["oov"] == 0 and "never saw" not in err


def test_a_model_that_learns_as_it_reads_has_numbers_of_its_own(call, place):
    """The settings are chosen on the corpus's validation text, or the training's for one file."""
    plain = json.loads(call("eval", place / "r", "--corpus", place / "a", "--json")[1])
    follows = ("--cache", 4, "--dynamic", "--json")
    for name in ("a", "a/test.txt"):
        status, out, err = call("eval", place / "r", "--corpus", place / name, *follows)
        answer = json.loads(out)
        assert status == 0 and answer["perplexity"] == plain["perplexity"], err
        assert 1 < answer["perplexity_with_cache"] < 20 and 1 < answer["perplexity_dynamic"] < 20
        assert "cache:4|theta:" in answer["signature_with_cache"]
        assert "|dynamic:" in answer["signature_dynamic"]
        assert not {"cache", "dynamic"} & set(answer["signature"].replace(":", "|").split("|"))
    said = call("eval", place / "r", "--corpus", place / "a", "--cache", 4)[1]
    assert "with cache: test perplexity" in said and "of a model that learns from this text" in said
    for words, message in (
        (("--cache", 0), "cache: must be at least 1, got 0"),
        (
            ("--dynamic", "--batch-size", 2),
            "dynamic: reads one sequence, and takes no --batch-size 2",
        ),
    ):
        status, out, err = call("eval", place / "r", *words)
        assert (status, out) == (2, "") and message in err


def test_one_split_or_its_file_is_enough(call, place):
    whole = json.loads(call("eval", place / "r", "--corpus", place / "a", "--json")[1])
    (place / "b").mkdir()
    shutil.copy(place / "a" / "test.txt", place / "b" / "wiki.test.raw")
    digest = hashlib.sha256(TEST.encode()).hexdigest()[:8]
    for name, called in (("b", "b"), ("b/wiki.test.raw", "wiki.test.raw")):
        status, out, err = call("eval", place / "r", "--corpus", place / name, "--json")
        answer = json.loads(out)
        assert status == 0 and answer["perplexity"] == whole["perplexity"], err
        assert f"corpus:{called}:{digest}" in answer["signature"]


def test_a_corpus_is_looked_for_beside_the_run(call, place):
    """By `eval`, and by `diagnose`, for which this text is too short."""
    status, out, err = call("eval", place / "r", "--json")
    assert status == 0 and json.loads(out)["tokens"] == 11 and "does not hold" not in err
    (place / "runs" / "deep").mkdir(parents=True)
    shutil.copytree(place / "r", place / "runs" / "deep" / "r")
    assert call("eval", place / "runs" / "deep" / "r")[0] == 0
    (place / "a" / "test.txt").write_text(TEST + TRAIN)
    status, _, err = call("eval", place / "r")
    assert status == 0 and "a does not hold the text that the run was trained on" in err
    for words in (("eval", place / "r"), ("diagnose", place / "r", "--out", place / "page")):
        assert "the run was trained on a, not" not in call(*words)[2]
    shutil.rmtree(place / "a")
    for words in (("eval", place / "r"), ("diagnose", place / "r", "--out", place / "page")):
        status, _, err = call(*words)
        assert status == 2
        assert "corpus: the run was trained on a, not to be found; give --corpus" in err


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("empty", "empty is empty"),
        ("nowhere", "nowhere is not a directory or a file"),
        ("r", "r holds no test.txt or ptb.test.txt or wiki.test.tokens or wiki.test.raw"),
        ("ends", "ends: line 1 holds the reserved symbol <eos>"),
    ],
)
def test_a_text_that_cannot_be_scored_is_named(call, place, corpus, message):
    (place / "empty").touch()
    (place / "ends").write_text("the fox <eos>\n")
    status, out, err = call("eval", place / "r", "--corpus", place / corpus, "--json")
    assert (status, out) == (2, "") and message in err.splitlines()[-1]


def test_a_number_that_is_none_is_null(call, place):
    """The parameters of a run that diverged: no NaN, which is not JSON, and no perplexity."""
    run = train.load_run(place / "r")
    broken = jax.tree.map(lambda x: x * np.float32(np.nan), run.params)
    checkpoint.save(place / "r" / "best.safetensors", broken, {})
    status, out, _ = call("eval", place / "r", "--json")
    answer = json.loads(out, parse_constant=pytest.fail)
    assert status == 0 and answer["perplexity"] is answer["nll"] is None
    assert call("eval", place / "r")[1].startswith("no test perplexity on 11 tokens (nll nan")


def test_answers_hold_what_json_can():
    result = Perplexity(math.inf, math.nan, 3, 3, math.nan, 0.5, "signature")
    answer = json.loads(to_json(result._asdict()), parse_constant=pytest.fail)
    assert list(answer.values()) == [None, None, 3, 3, None, 0.5, "signature"]
    assert sentence(result._replace(perplexity=2.0, oov=0), "valid").splitlines()[0] == (
        "valid perplexity 2.000 on 3 tokens (nll nan nats a token, 0.5 s)"
    )


def test_stdlib_is_read_at_the_level_that_is_asked_for():
    assert read_corpus("stdlib", level="char").vocab.level == "char"
    rare = read_corpus("stdlib", min_count=50)
    assert len(rare.vocab) < len(data.stdlib().vocab) == len(read_corpus("stdlib").vocab)
