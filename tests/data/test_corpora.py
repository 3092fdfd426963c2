"""Corpora: three splits or one, from a directory, a file or a pipe."""

import hashlib
import os
import threading

import numpy as np
import pytest

from lmjax import data
from lmjax.data import UNK, Vocabulary, corpora

SPLITS = ("train", "valid", "test")


@pytest.fixture
def corpus_dir(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(
            f"the cat sat\nthe {split} 고양이 🐈\n", encoding="utf-8"
        )
    return tmp_path


@pytest.mark.parametrize("layout", ["{}.txt", "ptb.{}.txt", "wiki.{}.tokens", "wiki.{}.raw"])
def test_layouts(tmp_path, layout):
    for split in ("train", "valid", "test"):
        (tmp_path / layout.format(split)).write_text("one two\nthree\n")
    corpus = data.directory(tmp_path)
    assert corpus.vocab.decode(corpus.test) == "one two\nthree\n"


def test_ids_are_paged_from_disk(corpus_dir):
    corpus = data.directory(corpus_dir)
    assert isinstance(corpus.train, np.memmap)
    assert corpus.vocab.decode(corpus.train) == "the cat sat\nthe train 고양이 🐈\n"
    assert corpus.test[5] == corpus.vocab.unk
    assert data.directory(corpus_dir).sha256 == corpus.sha256


def test_stdlib_is_prose_in_three_parts():
    corpus = data.stdlib()
    assert len(corpus.train) > 200_000 and min(len(corpus.valid), len(corpus.test)) > 10_000
    assert data.stdlib().sha256 == corpus.sha256
    lines = [
        set(corpus.vocab.decode(ids).split("\n")[:-1])
        for ids in (corpus.train, corpus.valid, corpus.test)
    ]
    whole = [{line for line in part if UNK not in line} for part in lines]
    assert not whole[0] & whole[2]  # no paragraph on both sides


def bad_directory(tmp_path, train=b"a b c\n", name="train.txt"):
    for split in ("valid", "test"):
        (tmp_path / f"{split}.txt").write_bytes(b"a b c\n")
    (tmp_path / name).write_bytes(train)
    return tmp_path


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (b"", "train.txt is empty"),
        (b"hello\n", r"at least 2 distinct symbols.*got \['hello'\]"),
        (b"ok\nbad \xff byte\n", r"train.txt: line 2 is not UTF-8 \(byte 0xff at 4\)"),
    ],
)
def test_bad_files_are_named(tmp_path, train, message):
    with pytest.raises(ValueError, match=message):
        data.directory(bad_directory(tmp_path, train))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: data.directory(p / "nowhere"), "nowhere is not a directory"),
        (
            lambda p: data.directory(bad_directory(p, name="training.txt")),
            "holds no {train,valid,test}.txt or",
        ),
        (lambda p: data.directory(bad_directory(p), min_count=9), "min_count=9 dropped 3"),
        (lambda p: one_split(p / "nowhere", "test"), "nowhere is not a directory or a file"),
        (lambda p: one_split(p, "valid"), r"holds no valid\.txt or ptb\.valid\.txt or"),
        (lambda p: one_split(p, "dev"), "split: must be train, valid or test, got 'dev'"),
        (lambda p: one_split(empty(p / "test.txt"), "test"), "test.txt is empty"),
        (lambda p: one_split(empty(p / "test.txt").parent, "test"), "test.txt is empty"),
    ],
)
def test_errors_name_the_argument(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path)


def one_split(path, split):
    return data.one_split(path, split, vocab=Vocabulary(("<eos>", UNK, "a")))


def empty(path):
    path.touch()
    return path


@pytest.mark.parametrize("split", SPLITS)
def test_no_split_may_be_empty(corpus_dir, split):
    (corpus_dir / f"{split}.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"corpus: .*/{split}\.txt is empty"):
        data.directory(corpus_dir)


@pytest.mark.parametrize(("content", "tokens"), [(b"\n\n", 2), (b" ", 1), (b"\r\n", 1)])
def test_a_line_without_words_has_an_end(corpus_dir, content, tokens):
    (corpus_dir / "test.txt").write_bytes(content)
    assert len(data.directory(corpus_dir).test) == tokens


def test_one_split_is_that_of_the_whole(corpus_dir):
    """A split is read where the others lack or are no text, and a file is one whatever its name."""
    whole = data.directory(corpus_dir)
    for split in SPLITS:
        part = data.one_split(corpus_dir, split, vocab=whole.vocab)
        assert getattr(part, split).tolist() == getattr(whole, split).tolist()
        assert (part.name, part.sha256) == (whole.name, whole.sha256)
        assert sum(len(getattr(part, s)) for s in SPLITS) == len(getattr(whole, split))
    raw = (corpus_dir / "test.txt").read_bytes()
    (corpus_dir / "train.txt").unlink()
    (corpus_dir / "valid.txt").unlink()
    (corpus_dir / "any name").write_bytes(raw)
    for place, name in ((corpus_dir, whole.name), (corpus_dir / "any name", "any name")):
        part = data.one_split(place, "test", vocab=whole.vocab)
        assert part.test.tolist() == whole.test.tolist()
        assert (part.name, part.sha256) == (name, hashlib.sha256(raw).hexdigest())


def test_a_pipe_is_read_once_and_digested(tmp_path):
    pipe, raw = tmp_path / "pipe", b"a b\nc\n" * 9
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(raw))
    writer.start()
    found = one_split(pipe, "test")
    writer.join()
    assert len(found.test) == 45
    assert found.sha256 == hashlib.sha256(raw).hexdigest()


def test_line_ends_of_two_kinds_are_one_text(tmp_path):
    for name, end in (("lf", "\n"), ("crlf", "\r\n")):
        (tmp_path / name).mkdir()
        for split in SPLITS:
            text = end.join(["the cat", "", "sat on\ra mat", ""])
            (tmp_path / name / f"{split}.txt").write_bytes(text.encode())
    for level in ("word", "char"):
        lf, crlf = (data.directory(tmp_path / name, level=level) for name in ("lf", "crlf"))
        assert lf.vocab == crlf.vocab
        assert lf.test.tolist() == crlf.test.tolist()
    assert "\r" in lf.vocab.symbols  # the one inside a line


def test_a_cache_that_cannot_be_written_is_left_as_it_was(tmp_path, monkeypatch):
    def documents():
        yield "a", "one two three four five six seven eight nine"
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("LMJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "_documents", documents)
    with pytest.raises(OSError, match=r"No space left on device.*cache"):
        data.stdlib()
    assert list((tmp_path / "cache").iterdir()) == []


def test_stdlib_reads_characters_too(tmp_path, monkeypatch):
    prose = "one two three four five six seven eight nine and a zebra too"
    monkeypatch.setenv("LMJAX_CACHE", str(tmp_path))
    documents = [(f"{i}", f"{prose} {i}") for i in range(99)]
    monkeypatch.setattr(corpora, "_documents", lambda: iter(documents))
    corpus = data.stdlib(level="char")
    assert corpus.vocab.level == "char"
    assert corpus.vocab.decode(corpus.test).startswith("one two three")
