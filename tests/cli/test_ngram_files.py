"""The commands `lmjax ngram` on the files that other toolkits and small texts bring."""

import bz2
import gzip
import hashlib
import lzma
import os
import threading

import numpy as np
import pytest
from fox import FOX
from ngram_commands import call

from lmjax.interop.arpa import read_arpa

SMALL = "the cat sat on the mat\nthe dog sat\n" * 3  # no word is seen once


@pytest.fixture
def corpus(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / f"{split}.txt").write_text("red fox ran\nred ran\n", "utf-8")
    (tmp_path / "test.txt").write_text("red fox ran\nred ran\nfox red\n", "utf-8")
    return tmp_path


# log10 P of each token of "red fox ran", "red ran", "fox red", and their ends
SCORES = [*(-0.3, -0.4, -0.5, -0.2), *(-0.3, -1.4, -0.2), *(-1.20103, -0.85, -1.0)]
RIGHT = pytest.approx(10 ** -np.mean(SCORES), rel=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        FOX,
        f"# Input file: notes.txt\n\n{FOX}",
        f"made by hand: \\data\\\nngram 1=nr\n\\1-grams:\n{FOX}",
        f"by hand {{}}\n{FOX}",
        "\ufeff" + FOX,
        FOX.replace("\n", "\n\n"),
        FOX.replace("2=4", "2=5").replace("\n\n\\end", "\n-1.4\tfox <s>\n\n\\end"),
        FOX.replace("<unk>", "<UNK>"),
        FOX.replace("-99", "-inf"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_eval_reads_what_other_toolkits_write(text, pack, corpus, answer):
    (corpus / "model").write_bytes(pack(text.encode()))
    result = answer("eval", corpus / "model", "--corpus", corpus)
    assert (result["perplexity"], result["tokens"]) == (RIGHT, 10)


def test_the_unknown_word_in_capitals_serves_every_command(corpus, answer):
    (corpus / "m.arpa").write_text(FOX.replace("<unk>", "<UNK>"), "utf-8")
    (corpus / "test.txt").write_text("zzz red\n", "utf-8")
    result = answer("eval", corpus / "m.arpa", "--corpus", corpus)
    assert result["perplexity"] == pytest.approx(10 ** ((1.40103 + 0.7 + 1.0) / 3), rel=1e-5)
    assert result["oov"] == 1
    words = answer("complete", corpus / "m.arpa", "zzz", "--count", 3)["suggestions"]
    assert len(words) == 3
    assert answer("generate", corpus / "m.arpa", "--length", 5)["tokens"] == 5
    assert answer("report", corpus / "m.arpa", "--corpus", corpus)["ngrams"] == [6, 4]
    answer("arpa", corpus / "m.arpa", "--out", corpus / "back.arpa.xz")
    again = answer("eval", corpus / "back.arpa.xz", "--corpus", corpus)
    assert again["perplexity"] == result["perplexity"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_model_may_come_through_a_pipe(pack, corpus, answer):
    os.mkfifo(corpus / "pipe")
    data = pack(FOX.encode())
    writer = threading.Thread(target=(corpus / "pipe").write_bytes, args=[data], daemon=True)
    writer.start()
    result = answer("eval", corpus / "pipe", "--corpus", corpus)
    writer.join()
    assert (result["perplexity"], result["tokens"]) == (RIGHT, 10)
    assert f"model:pipe:{hashlib.sha256(FOX.encode()).hexdigest()[:8]}|" in result["signature"]


def test_a_model_made_of_an_arpa_file_keeps_its_signature(corpus, answer):
    (corpus / "m.arpa").write_text(FOX, "utf-8")
    answer("arpa", corpus / "m.arpa", "--out", corpus / "m")
    signatures = {
        answer("eval", corpus / name, "--corpus", corpus)["signature"] for name in ("m.arpa", "m")
    }
    assert len(signatures) == 1


def test_an_impossible_unknown_word_is_counted(corpus, answer):
    (corpus / "m.arpa").write_text(FOX.replace("-1.1\t<unk>", "-inf\t<unk>"), "utf-8")
    (corpus / "test.txt").write_text("red fox ran\nred zzz\nfox red\n", "utf-8")
    result = answer("eval", corpus / "m.arpa", "--corpus", corpus)
    assert (result["perplexity"], result["tokens"], result["impossible"]) == (None, 10, 1)
    answer("arpa", corpus / "m.arpa", "--out", corpus / "back.arpa")
    assert "\n-inf\t<unk>\t0\n" in (corpus / "back.arpa").read_text("utf-8")


def test_a_text_may_be_compressed(tmp_path, answer):
    (tmp_path / "plain").write_text(SMALL, "utf-8")
    (tmp_path / "packed").write_bytes(gzip.compress(SMALL.encode()))
    for name in ("plain", "packed"):
        options = ("--order", 2, "--discount-fallback", "--out", tmp_path / f"{name}.arpa")
        answer("fit", "--text", tmp_path / name, *options)
    assert (tmp_path / "packed.arpa").read_bytes() == (tmp_path / "plain.arpa").read_bytes()


def test_whole_numbers_are_those_of_lmplz(tmp_path, answer):
    (tmp_path / "text").write_text("a b c\n", "utf-8")
    options = ("--order", 2, "--discount-fallback", "--out", tmp_path / "m.arpa")
    answer("fit", "--text", tmp_path / "text", *options)
    lines = (tmp_path / "m.arpa").read_text("utf-8").splitlines()
    assert lines[5] == "-1\t<unk>\t0"
    assert not any(line.split("\t")[0].endswith(".0") for line in lines)


@pytest.mark.parametrize("method", ["mkn", "kn", "katz"])
def test_what_a_small_text_needs_is_an_option_of_the_command(method, tmp_path, answer):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(SMALL, "utf-8")
    fit = ("fit", "--corpus", tmp_path, "--order", 3, "--method", method, "--out", tmp_path / "m")
    with pytest.raises(
        ValueError, match=r"too small .*; rerun with --discount-fallback$"
    ) as caught:
        call(*fit)
    assert not any(word in str(caught.value) for word in ("give", "lower", "fallback=", "`"))
    assert "fallback:" in answer(*fit, "--discount-fallback")["signature"]
    assert 1 < answer("eval", tmp_path / "m", "--corpus", tmp_path)["perplexity"] < 9


@pytest.mark.parametrize("method", ["add", "mle", "stupid"])
def test_a_fallback_is_for_methods_that_discount(method, corpus):
    with pytest.raises(ValueError, match=f"--discount-fallback is for mkn, kn, katz, not {method}"):
        call(
            *("fit", "--corpus", corpus, "--method", method),
            *("--discount-fallback", "--out", corpus / "m"),
        )


@pytest.mark.parametrize("name", ["m", "m.arpa"])
def test_directories_are_made_for_what_is_written(name, corpus, answer):
    out = corpus / "new" / "dir" / name
    answer("fit", "--corpus", corpus, "--order", 2, "--method", "add", "--out", out)
    assert out.stat().st_size
    again = corpus / "other" / "m.arpa.gz"
    answer("arpa", out, "--out", again)
    assert len(read_arpa(again)[1]) == 5


@pytest.mark.parametrize("out", ["", "train.txt/m"])
def test_a_place_where_nothing_can_be_written_is_refused_first(out, corpus):
    (corpus / "m.arpa").write_text("not read", "utf-8")
    for command in (("fit", "--text", corpus / "nothing"), ("arpa", corpus / "m.arpa")):
        with pytest.raises((ValueError, OSError), match=r"is a directory|train\.txt"):
            call(*command, "--out", corpus / out)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"mmap lm http://kheafield.com/code format version 5\n\0", "m: a binary file of KenLM"),
        (lzma.compress(FOX.encode())[:-20], "m: Compressed file ended"),
        (FOX.encode().replace(b"ran", b"caf\xe9"), r"m: line 11: .* \(byte 0xe9 at 3\)"),
        (FOX.encode().replace(b"2=4", b"2=5"), "promises 5 2-grams, the section holds 4"),
        (FOX.encode().replace(b"2=4", b"2=3"), "promises 3 2-grams, the section holds 4"),
        (FOX.encode().replace(b"red", b"<eos>"), "m: line 9: the word <eos> is reserved"),
        (1_000_000 * b"\x80", "m: line 2: expected"),
    ],
)
def test_a_file_that_is_none_is_named_in_one_line(data, message, corpus):
    (corpus / "m").write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        call("eval", corpus / "m", "--corpus", corpus)
    said = str(caught.value).replace(str(corpus), "")
    assert said.isprintable()
    assert len(said) < 120
