"""Counts and estimates: lmplz's own output, and the laws of each method."""

from itertools import product
from pathlib import Path

import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmjax.data import Vocabulary, read_lines
from lmjax.interop.arpa import read_arpa
from lmjax.models import ngram as ng
from lmjax.models.ngram import counts as counting

GOLDEN = Path(__file__).parents[2] / "golden"
FALLBACK = (0.5, 1.0, 1.5)
TEXTS = {name: ng.read_text(read_lines(GOLDEN / f"{name}.txt")) for name in ("story", "tiny")}
METHODS = {
    "mle": ng.mle,
    "add_delta": ng.add_delta,
    "katz": lambda counts: ng.katz(counts, largest=2),
    "kneser_ney": ng.kneser_ney,
    "modified_kneser_ney": ng.modified_kneser_ney,
    "pruned": lambda counts: ng.modified_kneser_ney(counts, prune=(0, 1)[: counts.order]),
}
log_prob, log_probs = ng.log_prob, ng.log_probs


def count(name, order):
    ids, vocab = TEXTS[name]
    return ng.count(ids, order, size=len(vocab), eos=vocab.eos), vocab


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
    "tiny.5": {"fallback": FALLBACK},
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


def brute_counts(ids, order, eos):
    """Every n-gram of a text with its count, by a dictionary."""
    found = [{} for _ in range(order)]
    sentence = [0]
    for token in ids:
        sentence.append(token + 1)
        for k in range(1, min(order, len(sentence)) + 1):
            gram = tuple(sentence[-k:])
            found[k - 1][gram] = found[k - 1].get(gram, 0) + 1
        if token == eos:
            sentence = [0]
    return found


def spelled(counts):
    """The words of every n-gram, from the rows of their contexts."""
    grams = [[(w,) for w in counts.grams[0].word.tolist()]]
    for level in counts.grams[1:]:
        pairs = zip(level.context.tolist(), level.word.tolist(), strict=True)
        grams.append([(*grams[-1][c], w) for c, w in pairs])
    return grams


@settings(deadline=None, max_examples=60)
@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    order=st.integers(1, 6),
    chunk=st.sampled_from([1, 4, 64]),
)
def test_counts_are_those_of_a_dictionary(ids, order, chunk):
    previous, counting.CHUNK = counting.CHUNK, chunk
    try:
        counts = ng.count(ids, order, size=5, eos=0)
    finally:
        counting.CHUNK = previous
    expected = brute_counts(ids, order, 0)
    grams_of = spelled(counts)
    for k, (grams, level) in enumerate(zip(grams_of, counts.grams, strict=True), 1):
        seen = {g: c for g, c in zip(grams, level.seen.tolist(), strict=True) if c and g != (0,)}
        assert seen == expected[k - 1]
        assert [g[::-1] for g in grams] == sorted(g[::-1] for g in grams)
        assert level.start.tolist() == [g[0] == 0 for g in grams]
        if k > 1:
            assert [grams_of[k - 2][s] for s in level.suffix] == [g[1:] for g in grams]


def histories(order, size, seed=0):
    """Histories that occur in no text, those of the story, and all lengths of sentence starts."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(2, size, order - 1) for _ in range(5)]
    ids = TEXTS["story"][0]
    for i in range(0, 600, 31):
        row = np.zeros(order - 1, int)
        for j in range(1, order):
            if i < j or ids[i - j] == TEXTS["story"][1].eos:
                break
            row[-j] = ids[i - j] + 1
        rows.append(row)
    return np.array(rows, np.int32)


@pytest.mark.parametrize("name", METHODS)
def test_probabilities_sum_to_one(name):
    counts, vocab = count("story", 4)
    model = ng.index(METHODS[name](counts))
    total = np.exp(np.asarray(log_probs(model, histories(4, len(vocab))), float)).sum(-1)
    if name == "mle":  # undefined after what was never seen
        assert np.isnan(total[:5]).all()
        total = total[5:]
    np.testing.assert_allclose(total, 1, atol=2e-6)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_closed_vocabulary_sums_to_one(name, order):
    """Every word of the vocabulary occurs, and `<unk>` is a word as any other."""
    ids, vocab = TEXTS["story"]
    counts = ng.count(ids - 1, order, size=len(vocab) - 1, eos=0)
    model = ng.index(METHODS[name](counts))
    total = np.exp(np.asarray(log_probs(model, np.zeros((2, order - 1), np.int32)), float)).sum(-1)
    np.testing.assert_allclose(total, 1, atol=2e-6)


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
        scores = np.exp(log_probs(model, np.array(history, np.int32)))
        for word in range(2, len(vocab), 7):
            assert scores[word] == pytest.approx(score((*history, word + 1)), rel=1e-5)
        assert abs(scores.sum() - 1) > 1e-3


def test_maximum_likelihood_is_the_lectures_ratio():
    counts, vocab = count("story", 3)
    ids = TEXTS["story"][0]
    grams = brute_counts(ids, 3, vocab.eos)[2]
    logp = log_probs(ng.index(ng.mle(counts)), np.array([g[:2] for g in grams], np.int32))
    for (a, b, w), p in zip(grams, np.exp(logp), strict=True):
        total = sum(c for g, c in grams.items() if g[:2] == (a, b))
        assert p[w - 1] == pytest.approx(grams[a, b, w] / total, rel=1e-5)


def test_add_delta_is_the_lectures_ratio():
    counts, vocab = count("story", 3)
    grams = brute_counts(TEXTS["story"][0], 3, vocab.eos)[2]
    some = [*grams][::40]
    logp = log_probs(ng.index(ng.add_delta(counts, 0.3)), np.array([g[:2] for g in some], np.int32))
    for (a, b, _), p in zip(some, np.exp(logp), strict=True):
        c = np.array([grams.get((a, b, w), 0) for w in range(1, len(vocab) + 1)])
        np.testing.assert_allclose(p, (c + 0.3) / (c.sum() + 0.3 * len(vocab)), rtol=1e-5)


def test_kneser_ney_without_discount_is_maximum_likelihood():
    counts, vocab = count("story", 3)
    seen = histories(3, len(vocab))[5:]
    kn = log_probs(ng.index(ng.kneser_ney(counts, discount=0)), seen)
    ml = log_probs(ng.index(ng.mle(counts)), seen)
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
        np.testing.assert_allclose(np.exp(log_probs(model, np.array([h], np.int32))), p, rtol=2e-5)


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
            p = np.exp(log_probs(model, np.array([h], np.int32)))[w - 1]
            assert p == pytest.approx(rate.get(c, 1) * c / sum(followers), rel=1e-5)


def test_discounts_are_those_of_chen_and_goodman():
    counts, _ = count("story", 1)
    n = np.bincount(counts.grams[0].seen[1:], minlength=5)
    y = n[1] / (n[1] + 2 * n[2])
    expected = [0, *[j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]]
    np.testing.assert_allclose(ng.discounts(counts)[0], expected, 1e-6)


def test_edges_are_right_or_refused():
    one = ng.count([0, 0, 0], 3, size=1, eos=0)  # a vocabulary of one word, sentences of one
    assert np.exp(log_prob(ng.index(ng.mle(one)), np.array([0, 0]))).tolist() == [1, 1]
    long = ng.count([1, 2, 0], 9, size=3, eos=0)
    assert [len(grams.word) for grams in long.grams] == [4, 3, 2, 1, 0, 0, 0, 0, 0]
    model = ng.index(ng.modified_kneser_ney(long, fallback=FALLBACK))
    np.testing.assert_allclose(np.exp(log_probs(model, np.zeros(8, np.int32))).sum(), 1, atol=1e-6)
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
        (lambda c: ng.modified_kneser_ney(c, fallback=FALLBACK, prune=(1, 0)), "do not decrease"),
        (lambda c: ng.modified_kneser_ney(c, fallback=FALLBACK, vocab_pad=-1), "vocab_pad"),
        (lambda c: ng.modified_kneser_ney(c, fallback=FALLBACK, words=[True]), "words: bool"),
        (lambda c: ng.katz(c), "no Good-Turing discounts for 2-grams"),
        (lambda c: ng.katz(c, largest=0), "largest"),
        (lambda c: ng.add_delta(c, 0), "delta: above 0"),
        (lambda c: ng.stupid_backoff(c, 2), "alpha"),
        (lambda c: ng.kneser_ney(c, discount=2), "discount"),
        (lambda c: ng.read_text(["a <unk> b"]), "line 1 holds the reserved symbol <unk>"),
        (lambda c: ng.read_text(["", ""]), "no words in 2 lines"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(count("tiny", 3)[0])


def test_reserved_symbols_can_be_skipped():
    ids, vocab = ng.read_text(["a <s> b </s>", "<unk> a"], skip_symbols=True)
    assert vocab == Vocabulary(("<unk>", "<eos>", "a", "b"))
    assert ids.tolist() == [2, 3, 1, 2, 1]


def test_only_space_tab_return_and_nul_split():
    _, vocab = TEXTS["story"]
    assert {"and\u00a0this", "\u65e5\u672c\x0bend"} <= set(vocab.symbols)


def test_every_combination_of_orders_and_histories_agrees():
    """log_probs of a history is what log_prob gives after reading it."""
    model = ng.index(ng.modified_kneser_ney(count("story", 3)[0]))
    for first, second in product((2, 5, 40), (3, 4, 9)):
        read = log_prob(model, np.array([first, second, 7]))[2]
        assert log_probs(model, np.array([first + 1, second + 1], np.int32))[7] == read
