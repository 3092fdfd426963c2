"""Tokens, vocabularies and batches: nothing is lost, and bad input is named."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmjax import data
from lmjax.data import EOS, UNK, Vocabulary, build_vocabulary
from lmjax.data.corpora import encode_file
from lmjax.data.text import RESERVED
from lmjax.models import ngram

TEXT = (  # without the words that are refused, of which Hypothesis knows from the source
    st.text(st.sampled_from("ab\ufeff\ufffd\r\n\t \x00\x0b고"), max_size=30)
    | st.text(st.characters(codec="utf-8"), max_size=30)
).filter(lambda text: not any(word in text for word in RESERVED))


@given(TEXT, st.sampled_from(["word", "char"]))
@settings(deadline=None, max_examples=200)
def test_encode_and_decode_are_inverse_and_agree_with_files(text, level):
    """ids = encode(text) = the file's; encode(decode(ids)) = ids; decode(ids) is text made even."""
    vocab = build_vocabulary(["a b 고", text], level=level) if text else Vocabulary((EOS, UNK))
    vocab = Vocabulary(tuple(s for s in vocab.symbols if s != "고"), vocab.level)  # one is unknown
    ids = vocab.encode(text)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "text"
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a byte order mark is not text
        if text:
            assert encode_file(vocab, file).tolist() == ids.tolist()
        else:
            with pytest.raises(ValueError, match="text is empty"):
                encode_file(vocab, file)
    even = vocab.decode(ids)
    assert vocab.encode(even).tolist() == ids.tolist()
    assert vocab.decode(vocab.encode(even)) == even
    assert even.endswith("\n") == bool(text)
    if level == "char" and not {"\r", "고"} & set(text):
        assert even == text.removesuffix("\n") + "\n" * bool(text)


@given(st.lists(st.integers(0, 3), max_size=12), st.sampled_from(["word", "char"]))
@settings(deadline=None)
def test_any_ids_that_end_a_line_are_those_of_their_text(ids, level):
    vocab = Vocabulary(("a", EOS if level == "word" else "\n", UNK, "b"), level)
    ids = [*ids, vocab.eos]
    assert vocab.encode(vocab.decode(ids)).tolist() == ids


def test_a_newline_ends_a_line_and_begins_none():
    vocab = Vocabulary((UNK, EOS, "a"))
    assert vocab.encode("a").tolist() == vocab.encode("a\n").tolist() == [2, 1]
    assert vocab.encode("\na\n\n").tolist() == [1, 2, 1, 1]
    assert vocab.encode("").tolist() == []
    assert vocab.decode([1, 1, 2, 0, 1, 1, 2]) == "\n\na <unk>\n\na"
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=f"id {wrong} is not in the vocabulary of 3"):
            vocab.decode([0, wrong])


def test_words_round_trip_in_any_script():
    text = "나는 밥을 먹는다 🐈\nna\u00efve caf\u00e9"
    vocab = build_vocabulary(text.split("\n"))
    assert vocab.decode(vocab.encode(text)) == text + "\n"


def test_unknown_characters_are_one_character():
    vocab = build_vocabulary(["ab\ufffd"], level="char")
    assert vocab.encode("axb").tolist() == [vocab.index[c] for c in ("a", UNK, "b", "\n")]
    assert vocab.decode(vocab.encode("axb")) == "a\ufffdb\n"
    assert "\ufffd" not in vocab.symbols


def test_returns_before_the_newline_are_no_characters():
    assert data.tokenize("a\rb\r\r", "char") == ["a", "\r", "b", "\n"]
    assert data.tokenize("a\rb\r\r") == ["a", "b", EOS]
    vocab = Vocabulary(("a", "\n", "\r", UNK), "char")
    assert vocab.encode("a\r\na").tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("line", ["a {} b", "{}", "a b\t{}\r", "{} a b"])
@pytest.mark.parametrize("symbol", ["<s>", "</s>", EOS])
def test_reserved_symbols_are_refused_by_every_reader(line, symbol, tmp_path):
    line, vocab = line.format(symbol), Vocabulary((UNK, EOS, "a", "b"))
    message = f"line 2 holds the reserved symbol {symbol}"
    good = tmp_path / "good.txt"
    good.write_text("a b\n")
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(f"a b\n{line}\n")
    with pytest.raises(ValueError, match=f"reserved symbol {symbol}"):
        data.tokenize(line)
    for read in (
        lambda: vocab.encode(f"a\n{line}"),
        lambda: build_vocabulary(["a b", line]),
        lambda: ngram.read_text(["a b", line]),
    ):
        with pytest.raises(ValueError, match=f"text: {message}"):
            read()
    for read in (
        lambda: data.directory(tmp_path),
        lambda: data.directory(tmp_path, vocab=vocab),
    ):
        with pytest.raises(ValueError, match=f"train.txt: {message}"):
            read()
    with pytest.raises(ValueError, match=f"test.txt: {message}"):
        data.one_split(tmp_path, "test", vocab=vocab)
    (tmp_path / "train.txt").write_text("a b\n")
    with pytest.raises(ValueError, match=f"valid.txt: {message}"):
        data.directory(tmp_path)


def test_unk_is_a_word_of_a_corpus_and_reserved_symbols_are_characters():
    vocab = build_vocabulary(["a <unk> b", "<unk>s a<eos>"])
    assert vocab.encode("<unk>").tolist() == [vocab.unk, vocab.eos]
    assert {"<unk>s", "a<eos>"} <= set(vocab.symbols)
    assert data.tokenize("<s>", "char") == ["<", "s", ">", "\n"]


def test_unk_is_last_if_and_only_if_it_was_never_seen():
    assert build_vocabulary(["! a b"]).symbols[-1] == UNK
    assert build_vocabulary(["! a <unk>"]).symbols[-1] == "a"
    assert build_vocabulary(["! !", "a a", "b"], min_count=2).symbols[-1] == UNK  # seen


def test_lines_are_digested_as_they_are_read(tmp_path):
    raw = b"\xef\xbb\xbfone\r\n\ntwo"
    (tmp_path / "x").write_bytes(raw)
    digest = hashlib.sha256()
    assert list(data.read_lines(tmp_path / "x", digest)) == ["one\r", "", "two"]
    assert digest.hexdigest() == hashlib.sha256(raw).hexdigest()


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build_vocabulary([]), "text is empty"),
        (lambda: build_vocabulary(["a b c"], min_count=9), "min_count=9 dropped 3"),
        (lambda: build_vocabulary(["a"], min_count=0), "min_count: at least 1, got 0"),
        (lambda: Vocabulary(("a",)), "at least 2 symbols are needed, got 1"),
        (lambda: Vocabulary(("a", "a", EOS, UNK)), "'a' is there more than once"),
        (lambda: Vocabulary(("a", "b")), "must be among the symbols"),
        (lambda: Vocabulary((EOS, UNK), "byte"), "level must be 'word' or 'char', got 'byte'"),
        (
            lambda: next(data.contiguous(np.arange(3), batch_size=0, seq_len=1, start=0)),
            "batch_size: must be at least 1, got 0",
        ),
        (
            lambda: next(data.contiguous(np.arange(0), batch_size=1, seq_len=1, start=0)),
            "no tokens",
        ),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()
