"""Tokens, vocabularies, corpora and batches: nothing is lost, and bad input is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmjax import data
from lmjax.data import EOS, UNK, Vocabulary, build_vocabulary


@pytest.fixture
def corpus_dir(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(
            f"the cat sat\nthe {split} 고양이 🐈\n", encoding="utf-8"
        )
    return tmp_path


@given(st.text(st.characters(codec="utf-8"), min_size=2))
@settings(deadline=None, max_examples=50)
def test_characters_round_trip(text):
    if len(set(text) - {"\n"}) < 2:
        text += "ab"
    vocab = build_vocabulary(text.split("\n"), level="char")
    assert vocab.decode(vocab.encode(text)) == text + "\n"


def test_words_round_trip_in_any_script():
    text = "나는 밥을 먹는다 🐈\nna\u00efve caf\u00e9"
    vocab = build_vocabulary(text.split("\n"))
    assert vocab.decode(vocab.encode(text)) == text + "\n"


def test_only_ascii_separators_part_words():
    assert data.tokenize("a\u00a0b\tc\x00d\re\x0bf\u3000g") == [
        "a\u00a0b",
        "c",
        "d",
        "e\x0bf\u3000g",
        EOS,
    ]


def test_vocabulary_is_sorted_by_frequency():
    vocab = build_vocabulary(["b b a", "b c a"], min_count=2)
    assert vocab.symbols == ("b", EOS, "a", UNK)
    assert vocab.encode("c b").tolist() == [3, 0, 1]


@pytest.mark.parametrize("layout", ["{}.txt", "ptb.{}.txt", "wiki.{}.tokens"])
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


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_every_token_is_a_target_once_and_follows_its_input(length, batch_size, seq_len):
    ids = np.arange(1, length + 1)
    batches = list(data.contiguous(ids, batch_size=batch_size, seq_len=seq_len, start=0))
    whole = [np.concatenate([b[k] for b in batches]) for k in range(3)]
    mask = whole[2]
    assert sorted(whole[1][mask]) == ids.tolist()
    assert np.array_equal(whole[0][mask] + 1, whole[1][mask])
    assert all(b.inputs.shape == (seq_len, batch_size) for b in batches)


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
        (lambda p: build_vocabulary(["a"], min_count=0), "min_count: at least 1, got 0"),
        (lambda p: Vocabulary(("a",)), "at least 2 symbols are needed, got 1"),
        (lambda p: Vocabulary(("a", "a", EOS, UNK)), "'a' is there more than once"),
        (lambda p: Vocabulary(("a", "b")), "must be among the symbols"),
        (lambda p: Vocabulary((EOS, UNK), "byte"), "level must be 'word' or 'char', got 'byte'"),
        (
            lambda p: next(data.contiguous(np.arange(3), batch_size=0, seq_len=1, start=0)),
            "batch_size: must be at least 1, got 0",
        ),
        (
            lambda p: next(data.contiguous(np.arange(0), batch_size=1, seq_len=1, start=0)),
            "no tokens",
        ),
    ],
)
def test_errors_name_the_argument(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path)
