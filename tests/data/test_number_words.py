"""Number words mean their number again, whoever reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmjax.data import number_words as words

numbers = st.one_of(
    st.integers(0, words.LARGEST),
    st.integers(0, 12).map(lambda k: min(10**k, words.LARGEST)),
)


def value(tokens, units, small):
    """Read number words: a unit below 10^4 multiplies one digit, a larger one all since the last.

    In English a thousand is such a larger one.
    """
    total = group = digit = 0
    for token in tokens:
        if token in small:
            digit += small[token]
        elif token in ("hundred", "십", "백", "천"):
            group, digit = group + max(digit, 1) * units[token], 0
        else:
            total, group, digit = total + max(group + digit, 1) * units[token], 0, 0
    return total + group + digit


ENGLISH = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
KOREAN = {"십": 10, "백": 100, "천": 1000, "만": 10**4, "억": 10**8}


@given(numbers)
def test_english_words_are_read_as_the_number(number):
    small = {word: i for i, word in enumerate(words.ONES)}
    small |= {word: 10 * i for i, word in enumerate(words.TENS)}
    assert value(words.english(number), ENGLISH, small) == number


@given(numbers)
def test_korean_words_are_read_as_the_number(number):
    small = {word: i for i, word in enumerate(words.DIGITS)}
    assert value(words.korean(number), KOREAN, small) == number


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "영"),
        (10, "십"),
        (11, "십 일"),
        (110, "백 십"),
        (1000, "천"),
        (10_000, "만"),
        (20_000, "이 만"),
        (110_000, "십 일 만"),
        (100_000_000, "일 억"),
        (123_456_789, "일 억 이 천 삼 백 사 십 오 만 육 천 칠 백 팔 십 구"),
    ],
)
def test_korean_by_example(number, said):
    assert " ".join(words.korean(number)) == said


def test_pairs_are_distinct_and_the_same_for_a_seed():
    pairs = words.number_words(3000, seed=3)
    assert len({source for source, _ in pairs}) == len({target for _, target in pairs}) == 3000
    assert pairs == words.number_words(3000, seed=3) != words.number_words(3000, seed=4)


@pytest.mark.parametrize("number", [-1, 10**12])
def test_what_has_no_words_is_refused(number):
    with pytest.raises(ValueError, match=r"number: must be from 0 to 999,999,999,999, got"):
        words.korean(number)
