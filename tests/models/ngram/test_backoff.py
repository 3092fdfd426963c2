"""Katz discounts small counts, and stupid backoff is a score."""

import numpy as np
import pytest
from story import TEXTS, brute_counts, count

from lmjax.models import ngram as ng


def test_stupid_backoff_is_a_score():
    counts, vocab = count("story", 3)
    ids = TEXTS["story"][0]
    model = ng.index(ng.stupid_backoff(counts, 0.4))
    grams = brute_counts(ids, 3, vocab.eos)
    tokens = sum(c for g, c in grams[0].items())

    def score(gram):
        if len(gram) == 1:
            return grams[0].get(gram, 0) / tokens
        if gram in grams[len(gram) - 1]:
            same = [c for g, c in grams[len(gram) - 1].items() if g[:-1] == gram[:-1]]
            return grams[len(gram) - 1][gram] / sum(same)
        return 0.4 * score(gram[1:])

    the, book = (vocab.index[w] + 1 for w in ("the", "book"))
    for history in ((the, book), (book, book), (0, the)):
        scores = np.exp(ng.log_probs(model, np.array(history, np.int32)))
        for word in range(2, len(vocab), 7):
            assert scores[word] == pytest.approx(score((*history, word + 1)), rel=1e-5)
        assert abs(scores.sum() - 1) > 1e-3


def test_katz_leaves_large_counts_and_discounts_small_ones():
    counts, vocab = count("story", 2)
    grams = brute_counts(TEXTS["story"][0], 2, vocab.eos)[1]
    n = np.bincount([*grams.values()], minlength=4)
    a = 3 * n[3] / n[1]
    rate = {1: (2 * n[2] / n[1] - a) / (1 - a), 2: (3 * n[3] / (2 * n[2]) - a) / (1 - a)}
    model = ng.index(ng.katz(counts, largest=2))
    for (h, w), c in [*grams.items()][::10]:
        followers = [x for g, x in grams.items() if g[0] == h]
        if min(followers) <= 2:
            p = np.exp(ng.log_probs(model, np.array([h], np.int32)))[w - 1]
            assert p == pytest.approx(rate.get(c, 1) * c / sum(followers), rel=1e-5)


def sentences_of_one_word(*seen):
    """Counts up to bigrams of a text whose words are each a sentence, seen so often."""
    ids = [token for word, times in enumerate(seen, 1) for token in times * [word, 0]]
    return ng.count(ids, 2, size=len(seen) + 2, eos=0)


def test_katz_falls_back_on_smaller_counts():
    counts = sentences_of_one_word(*10 * [1], *4 * [2], 3)
    with pytest.raises(ng.NoDiscounts, match="2-grams"):
        ng.katz(counts)
    for entries, lower in zip(
        ng.katz(counts, fallback=True).entries, ng.katz(counts, largest=2).entries, strict=True
    ):
        np.testing.assert_array_equal(entries.log10p, lower.log10p)


def test_katz_falls_back_on_the_counts_themselves():
    counts = sentences_of_one_word(2, 2, 2)
    with pytest.raises(ng.NoDiscounts, match="2-grams"):
        ng.katz(counts)
    p = np.exp(ng.log_probs(ng.index(ng.katz(counts, fallback=True)), np.array([0], np.int32)))
    np.testing.assert_allclose(p[1:4], 2 / 7, rtol=1e-6)  # one more than 6: the rest is for others
