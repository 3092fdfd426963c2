"""Suggestions are the most probable next words."""

import pytest
from small_model import LM, V

from lmjax import decoding


def test_suggestions_are_sorted_and_sum_to_one(key):
    found = decoding.suggest(LM, LM.init(key), [1, 2], count=V)
    probabilities = [p for _, p in found]
    assert probabilities == sorted(probabilities, reverse=True) and sum(
        probabilities
    ) == pytest.approx(1)


def test_a_count_below_one_is_refused(key):
    with pytest.raises(ValueError, match="count"):
        decoding.suggest(LM, LM.init(key), [1], count=0)


@pytest.mark.parametrize("prompt", [[99], [-1], [[1]], [0.5]])
def test_a_prompt_that_is_no_text_is_refused(prompt, key):
    with pytest.raises(ValueError, match="prompt: "):
        decoding.suggest(LM, LM.init(key), prompt)
