"""ARPA files: KenLM's bytes out, the same model in, and one line about what is wrong."""

import gzip
from pathlib import Path

import chex
import numpy as np
import pytest
from fox import FOX

from lmjax.data import Vocabulary, read_lines
from lmjax.data.files import open_text
from lmjax.interop.arpa import read_arpa, write_arpa
from lmjax.interop.kenlm import kenlm_log_prob
from lmjax.models import ngram as ng

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = (GOLDEN / "tiny.5.arpa").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.arpa")), ids=lambda p: p.name)
@pytest.mark.parametrize("end", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_reading_and_writing_gives_the_bytes_of_lmplz(path, end, tmp_path):
    model, vocab = read_arpa(path)
    write_arpa(tmp_path / f"x.arpa{end}", model, vocab)
    with open_text(tmp_path / f"x.arpa{end}") as file:
        assert file.read() == path.read_bytes()
    packed = (tmp_path / f"x.arpa{end}").read_bytes() != path.read_bytes()
    assert packed == bool(end)
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
    estimate = ng.modified_kneser_ney(counts, fallback=ng.FALLBACK)
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
        (edit(1, "data"), r"line \d+: expected \\data\\, got the end of the file"),
        (
            edit(2, "ngram 1=" + 5000 * "9"),
            "line 2: expected 'ngram 1=' and a number, got ngram 1=9",
        ),
        (edit(2, "ngram 2=10"), "line 2: expected 'ngram 1='"),
        (edit(2, "ngram 1=x"), "line 2: expected 'ngram 1='"),
        (
            edit(2, "ngram 1=9"),
            f"line {FIRST + 9}: the header promises 9 1-grams, the section holds 10",
        ),
        (
            edit(2, "ngram 1=99999999999999"),
            f"line {SECOND - 1}: the header promises 99999999999999 1-grams, the section holds 10",
        ),
        (edit(FIRST - 1, "1-grams"), f"line {FIRST - 1}: expected .1-grams:, got 1-grams"),
        (edit(FIRST + 3, "-1\tthe\tx"), f"line {FIRST + 3}: not a finite number: x"),
        (edit(FIRST + 3, "nan\tthe\t0"), f"line {FIRST + 3}: not a finite number: nan"),
        (edit(FIRST + 3, "-1_0\tthe\t0"), f"line {FIRST + 3}: not a finite number: -1_0"),
        (edit(FIRST + 3, "-1\tthe\t-inf"), f"line {FIRST + 3}: not a finite number: -inf"),
        (edit(FIRST + 3, "-1\tthe\tnan"), f"line {FIRST + 3}: not a finite number: nan"),
        (edit(FIRST + 3, "-1\tthe\t-1e50"), f"line {FIRST + 3}: not a finite number: -1e50"),
        (edit(FIRST + 3, "0.5\tthe\t0"), f"line {FIRST + 3}: log10 probability above 0"),
        (edit(FIRST + 3, "-1\t<unk>\t0"), f"line {FIRST + 3}: <unk> is there twice"),
        (edit(FIRST + 1, "-1\tbegin\t0"), "<s> is not among the unigrams"),
        (edit(SECOND + 2, "-1\tthe dodo\t0"), f"line {SECOND + 2}: dodo is not among the unigrams"),
        (
            edit(SECOND + 2, "-1\tthe\t0"),
            f"line {SECOND + 2}: expected a number, 2 words and a number, got 3 fields|",
        ),
        (edit(SECOND + 2, LINES[SECOND]), f"line {SECOND + 2}: the n-gram is there twice"),
        (edit(FIRST + 3, "-1\t<eos>\t0"), f"line {FIRST + 3}: the word <eos> is reserved"),
        (edit(FIRST + 3, "-1\t<s>\t0"), f"line {FIRST + 3}: <s> is there twice"),
        (edit(SECOND - 1, "2-grams:"), rf"line {SECOND - 1}: expected \\2-grams:, got 2-grams:"),
        (SMALL.replace("\\end\\", ""), r"expected \\end\\, got the end"),
        (
            edit(SECOND + 3, None),
            f"line {SECOND + 2}: the header promises 13 2-grams, the file ends after 3",
        ),
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


@pytest.mark.parametrize("bigrams", ["", "-1\tfox <s>\n"])
def test_a_context_is_missed_where_none_is_left(bigrams, tmp_path):
    bigrams = f"\\2-grams:\n{bigrams}\n\\3-grams:\n-1\t<s> red fox\n\n\\end\\\n"
    text = FOX[: FOX.index("\\2-grams:")] + bigrams
    text = text.replace("ngram 2=4", f"ngram 2={text.count('fox <s>')}\nngram 3=1")
    number = text.split("\n").index("-1\t<s> red fox") + 1
    with pytest.raises(ValueError, match=f"line {number}: the n-gram without its last word"):
        read(tmp_path, text)
    empty = text.replace("ngram 3=1", "ngram 3=0").replace("-1\t<s> red fox\n", "")
    assert scores(tmp_path, empty, "red") == [-1.00103, -1.0]


def test_unknown_words_are_added_as_in_kenlm(tmp_path):
    text = SMALL.replace("ngram 1=10", "ngram 1=9").replace(f"{LINES[FIRST - 1]}\n", "")
    (tmp_path / "x.arpa").write_text(text, "utf-8")
    model, vocab = read_arpa(tmp_path / "x.arpa")
    assert vocab.symbols[-1] == "<unk>"
    assert model.levels[0].log10p[-1] == -100
    with pytest.raises(ValueError, match="<unk> is not among the unigrams"):
        read(tmp_path, text.replace("<s> the", "<s> <unk>", 1))


def read(tmp_path, text):
    (tmp_path / "x.arpa").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_arpa(tmp_path / "x.arpa")


def scores(tmp_path, text, sentence="zzz red fox"):
    """The log10 probabilities of a sentence's tokens, its end included."""
    model, vocab = read(tmp_path, text)
    ids = [vocab.index.get(word, vocab.unk) for word in [*sentence.split(), "<eos>"]]
    return (np.asarray(ng.log_prob(model, np.array(ids))) / np.log(10)).round(5).tolist()


PREAMBLE = "made in the nineties\nBeginning of data mark: \\data\\\nngram 1=nr\n\\1-grams:\n"


@pytest.mark.parametrize(
    "text",
    [
        f"# Input file: text\n\n# Command: lmplz -o 2\n{FOX}",
        PREAMBLE + FOX,
        "\ufeff" + FOX,
        FOX.replace("\n", "\n\n"),
        FOX.replace("\n", "\n \t\r\n"),
        FOX.replace("\n\n", "\n"),
        FOX.replace("\n", "\r\n"),
        FOX.replace("\\end", "-1.4\tfox <s>\n-1.4\t<s> <s>\n\\end").replace("2=4", "2=6"),
        FOX.replace("<unk>", "<UNK>"),
    ],
    ids=["hash", "preamble", "bom", "blank", "spaces", "dense", "crlf", "start-last", "unk-upper"],
)
def test_files_of_other_toolkits_hold_the_same_model(text, tmp_path):
    model, vocab = read(tmp_path, FOX)
    other, words = read(tmp_path, text)
    assert words == vocab
    chex.assert_trees_all_equal(other, model)


def test_lines_are_counted_as_the_file_has_them(tmp_path):
    text = (PREAMBLE + FOX.replace("\n", "\n\n")).replace("red fox", "red dodo")
    number = text.split("\n").index("-0.4\tred dodo") + 1
    with pytest.raises(ValueError, match=f"line {number}: dodo is not among the unigrams"):
        read(tmp_path, text)
    text = text.replace("red dodo", "red red").replace("fox ran", "red red")
    number = text.split("\n").index("-0.5\tred red") + 1
    with pytest.raises(ValueError, match=f"line {number}: the n-gram is there twice"):
        read(tmp_path, text)


def test_an_ngram_with_the_start_inside_shifts_no_line_number(tmp_path):
    text = FOX.replace("-0.4\tred fox", "-1.4\tfox <s>").replace("ran </s>", "fox ran")
    number = text.split("\n").index("-0.2\tfox ran") + 1
    with pytest.raises(ValueError, match=f"line {number}: the n-gram is there twice"):
        read(tmp_path, text)


def test_the_unknown_word_in_capitals_keeps_its_ngrams(tmp_path):
    more = "-0.3\tred <UNK>\n-0.6\t<UNK> </s>\n\\end"
    text = FOX.replace("<unk>", "<UNK>").replace("\n\\end", more).replace("2=4", "2=6")
    assert scores(tmp_path, text, "zzz red") == [-1.40103, -0.7, -1.0]
    assert scores(tmp_path, text, "red zzz") == [-0.3, -0.3, -0.6]
    model, vocab = read(tmp_path, text)
    write_arpa(tmp_path / "y.arpa", model, vocab)
    written = (tmp_path / "y.arpa").read_text("utf-8")
    assert "-1.1\t<unk>\t0\n" in written
    assert "UNK" not in written
    chex.assert_trees_all_equal(read_arpa(tmp_path / "y.arpa")[0], model)


def test_of_two_unknown_words_the_last_counts_as_in_kenlm(tmp_path):
    for first, last in (("<unk>", "<UNK>"), ("<UNK>", "<unk>")):
        two = FOX.replace("<unk>", first).replace("-0.7\tred", f"-1.6\t{last}\n-0.7\tred")
        two = two.replace("1=6", "1=7")
        assert scores(tmp_path, two) == [-1.90103, -0.7, -0.4, -0.95]
        assert read(tmp_path, two)[1].symbols.count("<unk>") == 1


def test_a_probability_of_0_is_read_and_written(tmp_path):
    text = FOX.replace("-99", "-inf").replace("-1.1", "-inf")
    assert scores(tmp_path, text) == [-np.inf, -0.7, -0.4, -0.95]
    model, vocab = read(tmp_path, text)
    write_arpa(tmp_path / "y.arpa", model, vocab)
    written = (tmp_path / "y.arpa").read_text("utf-8")
    assert "\n-inf\t<unk>\t0\n" in written
    assert "\n-inf\t<s>\t-0.30103\n" in written
    chex.assert_trees_all_equal(read_arpa(tmp_path / "y.arpa")[0], model)


def test_srilm_style_unigrams_give_the_unknown_word_nothing(tmp_path):
    ids, vocab = ng.read_text(["c c a a c"])
    counts = ng.count(ids, 2, size=len(vocab), eos=vocab.eos)
    options = {"fallback": ng.FALLBACK, "interpolate_unigrams": False}
    write_arpa(tmp_path / "x.arpa", ng.modified_kneser_ney(counts, **options), vocab)
    assert read_arpa(tmp_path / "x.arpa")[1] == vocab


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1, "-1"),
        (-100, "-100"),
        (-16777216, "-16777216"),
        (-1.5e10, "-15000000000"),
        (-1e15, "-1000000000000000"),
        (-1.5e20, "-150000000000000000000"),
        (-1e20, "-100000000000000000000"),
        (-1e21, "-1e21"),
        (-1.5e30, "-1.5e30"),
        (-0.5, "-0.5"),
        (-1e-6, "-0.000001"),
        (-1.1920929e-07, "-1.1920929e-7"),
    ],
)
def test_numbers_are_written_as_lmplz_writes_them(value, text, tmp_path):
    model, vocab = read(tmp_path, FOX)
    unigrams = model.levels[0]
    model = model._replace(
        levels=(
            unigrams._replace(
                log10p=unigrams.log10p.at[1].set(value), log10b=unigrams.log10b.at[0].set(value)
            ),
            model.levels[1]._replace(log10p=model.levels[1].log10p.at[0].set(value)),
        )
    )
    write_arpa(tmp_path / "y.arpa", model, vocab)
    lines = (tmp_path / "y.arpa").read_text("utf-8").splitlines()
    assert f"{text}\t</s>\t0" in lines
    assert f"-99\t<s>\t{text}" in lines
    assert f"{text}\t<s> red" in lines


def test_a_word_that_is_not_utf8_is_named(tmp_path):
    text = FOX.encode().replace(b"ran", b"caf\xe9")
    with pytest.raises(ValueError, match=r"x\.arpa: line 11: .*UTF-8 \(byte 0xe9 at 3\)"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"mmap lm http://kheafield.com/code format version 5\n\0", "a binary file of KenLM"),
        (b"mmap lm http://kheafield.com/code format version 4\n\0", "a binary file of KenLM"),
        (b"mmap lm http://kheafield.com/code incomplete\n", "a binary file of KenLM"),
        (b"blmt 3 2 2\n", "a file of IRSTLM"),
        (b"iARPA\n" + FOX.encode(), "a file of IRSTLM"),
        (b"SRILM_BINARY_NGRAM_002\n", "a binary file of SRILM"),
        (b"\x7fELF\x02\x01\x01\0\0", "a binary file"),
        (FOX.encode("utf-16"), "a binary file"),
        (5_000_000 * b"\x1b\xff", "expected"),
        (FOX.encode().replace(b"-0.9", 5_000_000 * b"\x1b\xff"), "not a finite number"),
        (FOX.encode().replace(b"-0.9", 5_000_000 * b"9"), "above 0|not a finite number"),
        (FOX.encode().replace(b"red fox", b"red " + 5_000_000 * b"\x1b"), "not among the unigrams"),
        (FOX.encode().replace(b"ngram 2=4", 5_000_000 * b"\x1b"), "expected"),
        (FOX.encode().replace(b"ngram 2=4", b"ngram 2=" + 5_000_000 * b"4"), "expected"),
        (FOX.encode().replace(b"\\2-grams:", 5_000_000 * b"\\"), "expected"),
        (FOX.encode().replace(b"ran", b"\xe9" * 5_000_000), "UTF-8"),
        (FOX.encode().replace(b"fox", b"\x1b" * 5_000_000).replace(b"ran", b"red"), "twice"),
    ],
)
def test_messages_are_short_and_printable(head, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, head)
    said = str(caught.value).replace(str(tmp_path), "")
    assert said.isprintable()
    assert len(said) < 160


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
    for word in ("<UNK>", "<s>", "</s>"):
        with pytest.raises(ValueError, match=f"no place for the word '{word}'"):
            write_arpa(tmp_path / "x.arpa", model, Vocabulary((*vocab.symbols[:-1], word)))
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
