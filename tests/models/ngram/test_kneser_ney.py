"""Kneser-Ney: lmplz's own output, the equation, and its reduction to maximum likelihood."""

import chex
import numpy as np
import pytest
from story import GOLDEN, TEXTS, brute_counts, count, histories

from lmjax.interop.arpa import read_arpa
from lmjax.models import ngram as ng


def limit(vocab):
    words = {"the", "student", "river", "book", "opened", "read", ".", "a", "<unk>"}
    return np.array([symbol in words for symbol in vocab.symbols])


CASES = {
    "story.1": {},
    "story.2": {},
    "story.3": {},
    "story.5": {},
    "story.3.prune": {"prune": (0, 0, 1)},
    "story.4.prune": {"prune": (1, 2, 2), "words": limit},
    "story.2.pad": {"vocab_pad": 500},
    "story.2.plain": {"interpolate_unigrams": False},
    "tiny.5": {"fallback": ng.FALLBACK},
}


@pytest.mark.parametrize("name", CASES)
def test_modified_kneser_ney_is_that_of_lmplz(name):
    golden, words = read_arpa(GOLDEN / f"{name}.arpa")
    counts, vocab = count(name.split(".")[0], int(name.split(".")[1]))
    options = CASES[name] | ({"words": limit(vocab)} if "words" in CASES[name] else {})
    model = ng.index(ng.modified_kneser_ney(counts, **options))
    keep = ng.kept_words(counts, prune=options.get("prune", ()), words=options.get("words"))
    symbols = zip(vocab.symbols, keep, strict=True)
    assert words.symbols == tuple(symbol for symbol, kept in symbols if kept)
    assert model.eos == golden.eos
    chex.assert_trees_all_equal(ng.index(ng.listing(model)), model)
    for ours, theirs in zip(model.levels, golden.levels, strict=True):
        np.testing.assert_array_equal(ours.first, theirs.first)
        np.testing.assert_array_equal(ours.word, theirs.word)
        np.testing.assert_array_max_ulp(np.asarray(ours.log10p), np.asarray(theirs.log10p), 2)
        if len(ours.log10b):
            np.testing.assert_array_max_ulp(np.asarray(ours.log10b), np.asarray(theirs.log10b), 2)


def test_kneser_ney_without_discount_is_maximum_likelihood():
    counts, vocab = count("story", 3)
    seen = histories(3, len(vocab))[5:]
    kn = ng.log_probs(ng.index(ng.kneser_ney(counts, discount=0)), seen)
    ml = ng.log_probs(ng.index(ng.mle(counts)), seen)
    np.testing.assert_allclose(np.exp(kn), np.exp(ml), atol=1e-6)


def test_kneser_ney_is_the_equation():
    """Interpolated Kneser-Ney written as the recursion, on the story's bigrams."""
    counts, vocab = count("story", 2)
    model = ng.index(ng.kneser_ney(counts, discount=0.75))
    grams = brute_counts(TEXTS["story"][0], 2, vocab.eos)[1]
    V = len(vocab)
    a = np.array([sum(g[1] == w for g in grams) for w in range(1, V + 1)])
    unigram = np.maximum(a - 0.75, 0) / a.sum() + 0.75 * (a > 0).sum() / a.sum() / V
    for h in range(0, V, 9):
        c = np.array([grams.get((h, w), 0) for w in range(1, V + 1)])
        p = unigram
        if c.sum():
            gamma = 0.75 * (c > 0).sum() / c.sum()
            p = np.maximum(c - 0.75, 0) / c.sum() + gamma * unigram
        np.testing.assert_allclose(
            np.exp(ng.log_probs(model, np.array([h], np.int32))), p, rtol=2e-5
        )


def test_discounts_are_those_of_chen_and_goodman():
    counts, _ = count("story", 1)
    n = np.bincount(counts.grams[0].seen[1:], minlength=5)
    y = n[1] / (n[1] + 2 * n[2])
    expected = [0, *[j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]]
    np.testing.assert_allclose(ng.discounts(counts)[0], expected, 1e-6)
