"""ARPA files: KenLM's bytes out, the same model in, and one line about what is wrong."""

import gzip
from pathlib import Path

import chex
import numpy as np
import pytest

from lmjax.data import Vocabulary, read_lines
from lmjax.interop.arpa import read_arpa, write_arpa
from lmjax.interop.kenlm import kenlm_log_prob
from lmjax.models import ngram as ng

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = (GOLDEN / "tiny.5.arpa").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.arpa")), ids=lambda p: p.name)
@pytest.mark.parametrize("end", ["", ".gz"])
def test_reading_and_writing_gives_the_bytes_of_lmplz(path, end, tmp_path):
    model, vocab = read_arpa(path)
    write_arpa(tmp_path / f"x.arpa{end}", model, vocab)
    written = (tmp_path / f"x.arpa{end}").read_bytes()
    assert (gzip.decompress(written) if end else written) == path.read_bytes()
    again, words = read_arpa(tmp_path / f"x.arpa{end}")
    chex.assert_trees_all_equal(again, model)
    assert words == vocab


def test_a_quantised_model_can_be_written(tmp_path):
    model, vocab = read_arpa(GOLDEN / "story.3.arpa")
    small = ng.quantise(model)
    write_arpa(tmp_path / "x.arpa", small, vocab)
    read, _ = read_arpa(tmp_path / "x.arpa")
    text = np.arange(2, 40)
    np.testing.assert_allclose(ng.log_prob(read, text), ng.log_prob(small, text), rtol=1e-6)


def test_a_closed_vocabulary_keeps_its_probabilities(tmp_path):
    vocab = Vocabulary(("the", "<eos>", "cat", "<unk>", "sat"))
    ids = vocab.encode("the cat sat\nthe dog sat\nthe cat")
    counts = ng.count(ids, 3, size=5, eos=vocab.eos)
    estimate = ng.modified_kneser_ney(counts, fallback=(0.5, 1, 1.5))
    write_arpa(tmp_path / "x.arpa", estimate, vocab)
    read, words = read_arpa(tmp_path / "x.arpa")
    assert words == vocab
    chex.assert_trees_all_equal(read, ng.index(estimate))


@pytest.mark.parametrize(
    "value", ["-1e-06", "-0.000123", "-3.5e-5", "-99", "0", "-0.0", "-1.1920929e-07"]
)
def test_values_keep_every_bit(value, tmp_path):
    text = SMALL.replace("-0.60266054\t<s> the", f"{value}\t<s> the")
    (tmp_path / "x.arpa").write_text(text, "utf-8")
    model, vocab = read_arpa(tmp_path / "x.arpa")
    write_arpa(tmp_path / "y.arpa", model, vocab)
    chex.assert_trees_all_equal(read_arpa(tmp_path / "y.arpa")[0], model)


def edit(number, line):
    """The small file with one line replaced (None: cut off before it)."""
    lines = SMALL.split("\n")
    return "\n".join(lines[: number - 1] + ([] if line is None else [line, *lines[number:]]))


LINES = SMALL.split("\n")
FIRST = LINES.index("\\1-grams:") + 2  # the first unigram's line number
SECOND = LINES.index("\\2-grams:") + 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: expected \\data\\, got the end"),
        (edit(1, "data"), r"line 1: expected \\data\\, got data"),
        (edit(2, "ngram 2=10"), "line 2: expected 'ngram 1='"),
        (edit(2, "ngram 1=x"), "line 2: expected 'ngram 1='"),
        (edit(2, "ngram 1=9"), f"line {FIRST + 9}: expected .2-grams:, got"),
        (
            edit(2, "ngram 1=11"),
            f"line {FIRST + 10}: expected a number, 1 words and a number, got 0 fields",
        ),
        (edit(FIRST - 1, "1-grams"), f"line {FIRST - 1}: expected .1-grams:, got 1-grams"),
        (edit(FIRST + 3, "-1\tthe\tx"), f"line {FIRST + 3}: not a finite number: x"),
        (edit(FIRST + 3, "nan\tthe\t0"), f"line {FIRST + 3}: not a finite number: nan"),
        (edit(FIRST + 3, "0.5\tthe\t0"), f"line {FIRST + 3}: log10 probability above 0"),
        (edit(FIRST + 3, "-1\t<unk>\t0"), f"line {FIRST + 3}: <unk> is there twice"),
        (edit(FIRST + 1, "-1\tbegin\t0"), "<s> is not among the unigrams"),
        (edit(SECOND + 2, "-1\tthe dodo\t0"), f"line {SECOND + 2}: dodo is not among the unigrams"),
        (
            edit(SECOND + 2, "-1\tthe\t0"),
            f"line {SECOND + 2}: expected a number, 2 words and a number, got 3 fields|",
        ),
        (edit(SECOND + 2, LINES[SECOND]), f"line {SECOND + 2}: the n-gram is there twice"),
        (edit(SECOND + 2, "-1\tthe <s>\t0"), f"line {SECOND + 2}: <s> can only begin an n-gram"),
        (SMALL.replace("\\end\\", ""), r"expected \\end\\, got the end"),
        (edit(SECOND + 3, None), "fields"),
    ],
)
def test_malformed_files_are_refused_with_the_line(text, message, tmp_path):
    (tmp_path / "x.arpa").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_arpa(tmp_path / "x.arpa")
    assert "x.arpa: line" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_context_must_be_there(tmp_path):
    text = SMALL.replace("ngram 2=13", "ngram 2=12").replace(f"{LINES[SECOND + 5 - 1]}\n", "", 1)
    (tmp_path / "x.arpa").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="without its last word is not in the file"):
        read_arpa(tmp_path / "x.arpa")


def test_unknown_words_are_added_as_in_kenlm(tmp_path):
    text = SMALL.replace("ngram 1=10", "ngram 1=9").replace(f"{LINES[FIRST - 1]}\n", "")
    (tmp_path / "x.arpa").write_text(text, "utf-8")
    model, vocab = read_arpa(tmp_path / "x.arpa")
    assert vocab.symbols[-1] == "<unk>"
    assert model.levels[0].log10p[-1] == -100


def test_gzip_cut_short_is_refused(tmp_path):
    (tmp_path / "x.arpa.gz").write_bytes(gzip.compress(SMALL.encode())[:200])
    with pytest.raises(ValueError, match=r"x\.arpa\.gz"):
        read_arpa(tmp_path / "x.arpa.gz")


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    ids, vocab = ng.read_text(read_lines(GOLDEN / "story.txt"))
    counts = ng.count(ids, 2, size=len(vocab), eos=vocab.eos)
    for model in (ng.mle(counts), ng.stupid_backoff(counts)):
        with pytest.raises(ValueError, match="no place in the format"):
            write_arpa(tmp_path / "x.arpa", model, vocab)
    model = ng.kneser_ney(counts)
    with pytest.raises(ValueError, match="no place for the word 'a b'"):
        write_arpa(tmp_path / "x.arpa", model, Vocabulary((*vocab.symbols[:-1], "a b")))
    with pytest.raises(ValueError, match="a vocabulary of"):
        write_arpa(tmp_path / "x.arpa", model, Vocabulary(vocab.symbols[:-1]))
    assert not (tmp_path / "x.arpa").exists()


def test_kenlm_gives_the_same_scores(tmp_path):
    pytest.importorskip("kenlm")
    ids, vocab = ng.read_text(read_lines(GOLDEN / "story.txt"))
    model = ng.index(ng.modified_kneser_ney(ng.count(ids, 4, size=len(vocab), eos=vocab.eos)))
    write_arpa(tmp_path / "x.arpa", model, vocab)
    text = vocab.encode("the student opened the book .\nno old zebra sat\n\nher")[:-1]
    scores = kenlm_log_prob(tmp_path / "x.arpa", vocab, text)
    np.testing.assert_allclose(scores, ng.log_prob(model, text), rtol=1e-5)
    with pytest.raises(OSError, match="nothing"):
        kenlm_log_prob(tmp_path / "nothing", vocab, text)
    with pytest.raises(ValueError, match="must be 'word', got 'char'"):
        kenlm_log_prob(tmp_path / "x.arpa", Vocabulary(("a", "\n", "<unk>"), "char"), [0])
