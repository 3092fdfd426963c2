"""BLEU equals sacrebleu's; the lecture's brevity penalty is never below the standard one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from lmjax.metrics import bleu

sentences = st.lists(st.sampled_from("abcde"), max_size=9)
corpora = st.integers(1, 3).flatmap(
    lambda several: st.lists(
        st.tuples(sentences, st.lists(sentences, min_size=several, max_size=several)),
        min_size=1,
        max_size=6,
    )
)


def score(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    return bleu(hypotheses, references)


@settings(max_examples=1000, deadline=None)
@given(corpora)
def test_equals_sacrebleu(pairs):
    metric = BLEU(tokenize="none", smooth_method="none")
    hypotheses = [" ".join(hypothesis) for hypothesis, _ in pairs]
    references = [[" ".join(several[k]) for _, several in pairs] for k in range(len(pairs[0][1]))]
    theirs, ours = metric.corpus_score(hypotheses, references), score(pairs)
    assert math.isclose(ours.bleu, theirs.score, abs_tol=1e-9)
    assert (ours.length, ours.reference_length) == (theirs.sys_len, theirs.ref_len)


@settings(max_examples=300, deadline=None)
@given(corpora)
def test_the_lectures_is_never_lower_and_equal_if_nothing_is_too_short(pairs):
    result = score(pairs)
    assert result.bleu_lecture >= result.bleu
    if all(result.precisions):
        long_enough = result.length >= result.reference_length
        assert (result.bleu_lecture == result.bleu) == long_enough


@pytest.mark.parametrize(
    ("ratio", "standard", "lecture"), [(20, 100, 100), (18, 89.48, 90), (14, 65.14, 70)]
)
def test_of_a_hypothesis_that_only_stops_too_early(ratio, standard, lecture):
    reference = [*range(20)]
    result = bleu([reference[:ratio]], [[reference]])
    assert f"{result.bleu:.2f}" == f"{standard:.2f}"
    assert result.bleu_lecture == pytest.approx(lecture)


def test_a_count_is_clipped_at_that_of_the_best_reference():
    several = [["the", "cat", "is", "on", "the", "mat"], ["a", "cat"]]
    result = bleu([["the"] * 7], [several])
    assert result.precisions[0] == 2 / 7  # the example of Papineni et al.


def test_permuting_the_sentences_changes_nothing():
    pairs = [([1, 2, 3, 4, 5], [[1, 2, 3, 4, 6]]), ([7], [[7, 8]])]
    assert score(pairs)[:-1] == score(pairs[::-1])[:-1]


def test_the_text_of_a_score_names_both_penalties_the_ratio_and_the_signature():
    text = str(bleu([["a"] * 4], [[["a"] * 5]], corpus="toy"))
    assert "lecture" in text and "length ratio 0.800 = 4/5" in text and "corpus:toy" in text


@pytest.mark.parametrize(
    ("hypotheses", "references", "named"),
    [
        ([], [], "hypotheses: at least one"),
        ([["a"]], [], "references: a list for each of the 1"),
        ([["a"]], [[]], r"references\[0\]: a list of one"),
        (["a cat"], [[["a"]]], r"hypotheses\[0\]: must be a list of tokens, got 'a cat'"),
        ([["a"]], [["a cat"]], r"references\[0\]\[0\]: must be a list of tokens"),
        ([["a"]], ["a cat"], r"references\[0\]: a list of one"),
    ],
)
def test_what_is_no_corpus_is_refused_by_name(hypotheses, references, named):
    with pytest.raises(ValueError, match=named):
        bleu(hypotheses, references)
