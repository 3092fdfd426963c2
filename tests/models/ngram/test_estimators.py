"""What holds for every estimator: distributions, edges and refusals."""

from itertools import product

import numpy as np
import pytest
from story import TEXTS, count, histories

from lmjax.models import ngram as ng

METHODS = {
    "mle": ng.mle,
    "add_delta": ng.add_delta,
    "katz": lambda counts: ng.katz(counts, largest=2),
    "kneser_ney": ng.kneser_ney,
    "modified_kneser_ney": ng.modified_kneser_ney,
    "pruned": lambda counts: ng.modified_kneser_ney(counts, prune=(0, 1)[: counts.order]),
}


@pytest.mark.parametrize("name", METHODS)
def test_probabilities_sum_to_one(name):
    counts, vocab = count("story", 4)
    model = ng.index(METHODS[name](counts))
    total = np.exp(np.asarray(ng.log_probs(model, histories(4, len(vocab))), float)).sum(-1)
    if name == "mle":  # undefined after what was never seen
        assert np.isnan(total[:5]).all()
        total = total[5:]
    np.testing.assert_allclose(total, 1, atol=2e-6)


WITH_FALLBACK = {
    "katz": lambda counts: ng.katz(counts, fallback=True),
    "kneser_ney": lambda counts: ng.kneser_ney(counts, fallback=0.75),
    "modified_kneser_ney": lambda counts: ng.modified_kneser_ney(counts, fallback=ng.FALLBACK),
}


@pytest.mark.parametrize("sentence", [[1, 2, 0], [1, 1, 1, 1, 0, 1, 0, 0], [0], 9 * [3, 2, 0]])
@pytest.mark.parametrize("name", WITH_FALLBACK)
def test_a_fallback_gives_a_distribution_on_any_text(name, sentence):
    counts = ng.count(sentence, 3, size=5, eos=0)
    model = ng.index(WITH_FALLBACK[name](counts))
    p = np.exp(ng.log_probs(model, np.array([*product(range(5), repeat=2)], np.int32)))
    np.testing.assert_allclose(np.asarray(p, float).sum(-1), 1, atol=2e-6)
    assert (p > 0).all()


@pytest.mark.parametrize("name", ["katz", "kneser_ney", "modified_kneser_ney"])
def test_a_fallback_changes_nothing_where_there_is_an_estimate(name):
    counts = count("story", 3)[0]
    for estimate, other in zip(
        METHODS[name](counts).entries,
        (ng.katz(counts, 2, fallback=True) if name == "katz" else WITH_FALLBACK[name](counts))[0],
        strict=True,
    ):
        np.testing.assert_array_equal(estimate.log10p, other.log10p)
        np.testing.assert_array_equal(estimate.log10b, other.log10b)


@pytest.mark.parametrize("name", ["katz", "kneser_ney", "modified_kneser_ney"])
def test_without_discounts_a_fallback_is_named(name):
    estimate = {"katz": ng.katz}.get(name, METHODS[name])
    with pytest.raises(ng.NoDiscounts, match=r"artificial; give `fallback`") as caught:
        estimate(count("tiny", 3)[0])
    assert "fallback" not in caught.value.problem


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_closed_vocabulary_sums_to_one(name, order):
    """Every word of the vocabulary occurs, and `<unk>` is a word as any other."""
    ids, vocab = TEXTS["story"]
    counts = ng.count(ids - 1, order, size=len(vocab) - 1, eos=0)
    model = ng.index(METHODS[name](counts))
    total = np.exp(np.asarray(ng.log_probs(model, np.zeros((2, order - 1), np.int32)), float)).sum(
        -1
    )
    np.testing.assert_allclose(total, 1, atol=2e-6)


def test_edges_are_right_or_refused():
    one = ng.count([0, 0, 0], 3, size=1, eos=0)  # a vocabulary of one word, sentences of one
    assert np.exp(ng.log_prob(ng.index(ng.mle(one)), np.array([0, 0]))).tolist() == [1, 1]
    long = ng.count([1, 2, 0], 9, size=3, eos=0)
    assert [len(grams.word) for grams in long.grams] == [4, 3, 2, 1, 0, 0, 0, 0, 0]
    model = ng.index(ng.modified_kneser_ney(long, fallback=ng.FALLBACK))
    np.testing.assert_allclose(
        np.exp(ng.log_probs(model, np.zeros(8, np.int32))).sum(), 1, atol=1e-6
    )
    without_end = np.tile(np.arange(1, 9), 100_000)  # one long line
    line = ng.count(without_end, 3, size=9, eos=0)
    assert line.grams[2].seen.sum() == 800_000 - 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: ng.count([], 2, size=3, eos=0), "no tokens"),
        (lambda c: ng.count([1], 0, size=3, eos=0), "order: at least 1, got 0"),
        (lambda c: ng.count([3], 2, size=3, eos=0), "from 0 to 2, got 3 to 3"),
        (lambda c: ng.count([1], 2, size=3, eos=3), "eos: from 0 to 2, got 3"),
        (lambda c: ng.count([[1]], 2, size=3, eos=0), "integers"),
        (ng.modified_kneser_ney, "no Kneser-Ney discounts for 1-grams"),
        (lambda c: ng.modified_kneser_ney(c, fallback=(2, 1, 1)), "fallback"),
        (
            lambda c: ng.modified_kneser_ney(c, fallback=ng.FALLBACK, prune=(1, 0)),
            "do not decrease",
        ),
        (lambda c: ng.modified_kneser_ney(c, fallback=ng.FALLBACK, vocab_pad=-1), "vocab_pad"),
        (lambda c: ng.modified_kneser_ney(c, fallback=ng.FALLBACK, words=[True]), "words: bool"),
        (lambda c: ng.katz(c), "no Good-Turing discounts for 2-grams"),
        (lambda c: ng.katz(c, largest=0), "largest"),
        (lambda c: ng.add_delta(c, 0), "delta: above 0"),
        (lambda c: ng.stupid_backoff(c, 2), "alpha"),
        (lambda c: ng.kneser_ney(c, discount=2), "discount"),
        (lambda c: ng.kneser_ney(c, fallback=-1), "fallback"),
        (lambda c: ng.read_text(["a <unk> b"]), "line 1 holds the reserved symbol <unk>"),
        (lambda c: ng.read_text(["", ""]), "no words in 2 lines"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(count("tiny", 3)[0])


def test_every_combination_of_orders_and_histories_agrees():
    """log_probs of a history is what log_prob gives after reading it."""
    model = ng.index(ng.modified_kneser_ney(count("story", 3)[0]))
    for first, second in product((2, 5, 40), (3, 4, 9)):
        read = ng.log_prob(model, np.array([first, second, 7]))[2]
        assert ng.log_probs(model, np.array([first + 1, second + 1], np.int32))[7] == read
