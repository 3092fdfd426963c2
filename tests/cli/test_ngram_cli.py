"""The commands `lmjax ngram`, as a user calls them."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ngram_commands import call

from lmjax import data
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


def test_eval_scores_every_token_and_counts_the_unknown(model, corpus, answer):
    result = answer("eval", model, "--corpus", corpus, "--split", "test")
    text = data.directory(corpus)
    fitted, vocab, _ = ng.load(model)
    assert vocab == text.vocab
    assert result["tokens"] == len(text.test)
    assert result["oov"] == 2  # the zebra, and an <unk> that is written, as KenLM counts
    logp = np.asarray(ng.log_prob(fitted, text.test), float)
    assert result["perplexity"] == pytest.approx(np.exp(-logp.mean()))
    known = logp[text.test != vocab.unk]
    assert result["perplexity_without_oov"] == pytest.approx(np.exp(-known.mean()))
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
        (("eval", "MODEL", "--corpus", "MODEL"), "story.ngram: line 1 is not UTF-8"),
        (("eval", "MODEL", "--corpus", "EMPTY"), "empty.txt is empty"),
        (("report", "MODEL", "--corpus", "EMPTY"), "empty.txt is empty"),
        (("eval", "MODEL", "--corpus", "ENDS"), "ends.txt: line 2 holds the reserved symbol </s>"),
        (
            ("fit", "--text", "ENDS", "--out", "x"),
            "ends.txt: line 2 holds the reserved symbol </s>",
        ),
        (("complete", "MODEL", "the", "--count", "0"), "count: must be at least 1"),
    ],
)
def test_refusals_are_one_line(args, message, corpus, model, tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "ends.txt").write_text("the student\nthe old </s>\n")
    places = {"CORPUS": corpus, "MODEL": model}
    places |= {"EMPTY": tmp_path / "empty.txt", "ENDS": tmp_path / "ends.txt"}
    places["x"] = tmp_path / "x"
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


TRAIN = """the red fox ran
the fox saw the red hen
a hen ran to the fox
the hen and the fox ran
red hen saw a red fox and ran
to the fox the hen ran
"""


def test_unknown_words_are_counted_as_kenlm_counts_them(tmp_path, answer, capsys):
    """KenLM's `query`: 13.114523 with the unknown words, 9.761001 without, 2 of 10 tokens."""
    (tmp_path / "train.txt").write_text(TRAIN)
    (tmp_path / "test.txt").write_text("the zebra ran\nquaggas\nthe fox hen\n")
    model = tmp_path / "m.arpa"
    options = ("--order", 3, "--discount-fallback", "--out", model)
    answer("fit", "--text", tmp_path / "train.txt", *options)
    result = answer("eval", model, "--corpus", tmp_path)
    assert result["perplexity"] == pytest.approx(13.114523, rel=1e-6)
    assert result["perplexity_without_oov"] == pytest.approx(9.761001, rel=1e-6)
    assert (result["oov"], result["tokens"]) == (2, 10)
    call("eval", model, "--corpus", tmp_path / "test.txt")
    said = capsys.readouterr().out
    assert "unknown words: 2 (20.0%), perplexity 9.761 without them" in said


def write_splits(path, text, end="\n"):
    path.mkdir()
    for split in ("train", "valid", "test"):
        (path / f"{split}.txt").write_bytes(text.replace("\n", end).encode())
    return path


def test_an_end_in_writing_is_refused_and_does_not_count_twice(tmp_path, answer):
    without = write_splits(tmp_path / "without", TRAIN)
    written = write_splits(tmp_path / "with", TRAIN.replace("\n", " <eos>\n"))
    options = ("--order", 2, "--discount-fallback", "--out", tmp_path / "m")
    with pytest.raises(ValueError, match=r"with/train\.txt: line 1 holds the reserved .* <eos>"):
        call("fit", "--corpus", written, *options)
    answer("fit", "--corpus", without, *options)
    result = answer("eval", tmp_path / "m", "--corpus", without)
    assert result["tokens"] == 42 and result["perplexity"] == pytest.approx(3.984, abs=5e-4)
    with pytest.raises(ValueError, match=r"with/test\.txt: line 1 holds the reserved .* <eos>"):
        call("eval", tmp_path / "m", "--corpus", written)
    for command in (("complete", "the <eos>"), ("generate", "--prompt", "</s>")):
        with pytest.raises(ValueError, match="line 1 holds the reserved symbol <"):
            call(command[0], tmp_path / "m", *command[1:])


def test_characters_are_the_same_with_both_kinds_of_line_ends(tmp_path, answer):
    for name, end in (("lf", "\n"), ("crlf", "\r\n")):
        text = write_splits(tmp_path / name, TRAIN, end)
        options = ("--level", "char", "--order", 2, "--discount-fallback", "--out", tmp_path / "m")
        answer("fit", "--corpus", text, *options)
        result = answer("eval", tmp_path / "m", "--corpus", text)
        assert result["tokens"] == 138 and result["perplexity"] == pytest.approx(3.138, abs=5e-4)


def test_stdlib_is_a_corpus_here_too(tmp_path, answer):
    options = ("--order", 2, "--method", "add", "--delta", 0.1)
    fitted = answer("fit", "--corpus", "stdlib", "--out", tmp_path / "m", *options)
    result = answer("eval", tmp_path / "m", "--corpus", "stdlib", "--split", "valid")
    text = data.stdlib()
    assert (fitted["tokens"], result["tokens"]) == (len(text.train), len(text.valid))
    assert f"corpus:{text.name}:{text.sha256[:8]}" in result["signature"]
    assert result["oov"] == (text.valid == text.vocab.unk).sum()
    shown = answer("report", tmp_path / "m", "--corpus", "stdlib")
    assert shown["tokens"] == len(text.test)


def test_standard_input_has_the_digest_of_its_bytes(tmp_path):
    """A pipe can be read once only; reading it again for the digest gave that of no bytes."""
    lmjax = [sys.executable, "-m", "lmjax.cli", "ngram"]
    options = ["--order", "2", "--discount-fallback", "--out", str(tmp_path / "m"), "--json"]
    fit = ["fit", "--text", "/dev/stdin", *options]
    for command in (fit, ["eval", str(tmp_path / "m"), "--corpus", "/dev/stdin", "--json"]):
        done = subprocess.run([*lmjax, *command], input=TRAIN.encode(), capture_output=True)
        signature = json.loads(done.stdout)["signature"]
        assert f"corpus:stdin:{hashlib.sha256(TRAIN.encode()).hexdigest()[:8]}" in signature
