"""Sentences come back from their ids as they were, but for what is no space between words."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmjax.data.tokenizer import JOINER, Tokenizer, join_words, learn_tokenizer, split_words

LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=JOINER), max_size=40)


@given(LINES)
def test_words_join_to_the_line_they_were_split_from(line):
    words = split_words(line)
    assert join_words(words) == " ".join(line.split())
    assert not any(word.split() != [word] for word in words)


def test_marks_are_words_in_any_script():
    apart = lambda line: " ".join(split_words(line)).replace(JOINER, "+")
    assert apart("¿Cómo estás?") == "¿ +Cómo estás +?"
    assert apart("3,5 % (ca.)") == "3 +, +5 % ( +ca +. +)"
    assert (
        apart("\u0645\u0631\u062d\u0628\u0627\u060c hi")
        == "\u0645\u0631\u062d\u0628\u0627 +\u060c hi"
    )
    assert apart("हिन्दी।") == "हिन्दी +।"  # vowel signs are no marks


@pytest.mark.parametrize("subwords", [None, 300])
def test_ids_tell_known_words_and_unknown_ones(subwords):
    if subwords:
        pytest.importorskip("tokenizers")
    lines = ["The cat sat.", "The dog sat!"]
    tokenizer = learn_tokenizer(lines, subwords=subwords)
    for line in lines:
        ids = tokenizer.encode(line)
        assert ids[-1] == tokenizer.vocab.eos
        assert tokenizer.decode(ids) == tokenizer.decode([*ids, 0, 0]) == line
    assert tokenizer.encode("a <eos>").count(tokenizer.vocab.eos) == 1  # in writing no end
    assert tokenizer.encode("") == [tokenizer.vocab.eos]
    assert tokenizer.vocab.unk in tokenizer.encode("한")
    again = Tokenizer(tokenizer.vocab, tokenizer.subwords)
    assert again.encode(lines[0]) == tokenizer.encode(lines[0])


def test_what_cannot_be_learned_is_named(monkeypatch):
    with pytest.raises(ValueError, match="at least 2 distinct symbols"):
        learn_tokenizer(["a a"], name="source")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"pip install 'lmjax\[translation\]'"):
        learn_tokenizer(["a b c"], subwords=300)
