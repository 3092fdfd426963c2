"""Numbers in English and in Korean words: a translation whose references are exact.

English groups three digits (thousand, million, billion), Korean four (만 10^4, 억 10^8): words
change places, and none can be written before the whole number is read.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LARGEST", "english", "korean", "number_words"]

LARGEST = 10**12 - 1

ONES = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
THOUSANDS = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"))

DIGITS = "영일이삼사오육칠팔구"
MYRIADS = ((10**8, "억"), (10**4, "만"))
PLACES = ((1000, "천"), (100, "백"), (10, "십"))


def english(number: int) -> list[str]:
    """Return a number's English words.

    >>> " ".join(english(21_070_300))
    'twenty one million seventy thousand three hundred'

    Raises:
        ValueError: the number is not from 0 to 10^12 - 1.
    """
    _check(number)
    words: list[str] = []
    for value, name in THOUSANDS:
        if number >= value:
            words += [*_below_thousand(number // value), name]
            number %= value
    return words + _below_thousand(number) or [ONES[0]]


def _below_thousand(number: int) -> list[str]:
    words = [ONES[number // 100], "hundred"] if number >= 100 else []
    number %= 100
    if number >= 20:
        words.append(TENS[number // 10])
        number %= 10
    return [*words, ONES[number]] if number else words


def korean(number: int) -> list[str]:
    """Return a number's Sino-Korean words, a word for each digit and each place.

    일 (one) is not said before 십, 백, 천, nor where it is all that stands before 만.

    >>> " ".join(korean(21_070_300)), " ".join(korean(10_016))
    ('이 천 백 칠 만 삼 백', '만 십 육')

    Raises:
        ValueError: the number is not from 0 to 10^12 - 1.
    """
    _check(number)
    words: list[str] = []
    for value, name in MYRIADS:
        if number >= value:
            group = number // value
            words += [name] if (group, name) == (1, "만") else [*_below_myriad(group), name]
            number %= value
    return words + _below_myriad(number) or [DIGITS[0]]


def _below_myriad(number: int) -> list[str]:
    words = []
    for value, name in PLACES:
        digit, number = divmod(number, value)
        words += [] if digit == 0 else [name] if digit == 1 else [DIGITS[digit], name]
    return [*words, DIGITS[number]] if number else words


def _check(number: int) -> None:
    if not 0 <= number <= LARGEST:
        raise ValueError(f"number: must be from 0 to {LARGEST:,}, got {number:,}")


def number_words(count: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return distinct numbers in English and Korean words; as many of each number of digits.

    Of the few that have one or two digits there are as many as there are. The pairs are in random
    order.

    Args:
        count: how many pairs.
        seed: of the choice.

    >>> len(set(number_words(500)))
    500

    Raises:
        ValueError: `count` is not from 1 to 10^9.
    """
    if not 1 <= count <= 10**9:
        raise ValueError(f"count: must be from 1 to 1,000,000,000, got {count}")
    rng = np.random.default_rng(seed)
    chosen: set[int] = set()
    while len(chosen) < count:
        digits = rng.integers(1, 13, count)
        chosen |= set(rng.integers(10 ** (digits - 1) * (digits > 1), 10**digits).tolist())
    numbers = rng.permutation(sorted(chosen))[:count].tolist()
    return [(" ".join(english(n)), " ".join(korean(n))) for n in numbers]
