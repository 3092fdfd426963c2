"""Counts are those of a dictionary, and text is read as lmplz reads it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from story import TEXTS, brute_counts

from lmjax.data import Vocabulary
from lmjax.models import ngram as ng
from lmjax.models.ngram import counts as counting


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


def test_reserved_symbols_can_be_skipped():
    ids, vocab = ng.read_text(["a <s> b </s>", "<unk> a"], skip_symbols=True)
    assert vocab == Vocabulary(("<unk>", "<eos>", "a", "b"))
    assert ids.tolist() == [2, 3, 1, 2, 1]


def test_only_space_tab_return_and_nul_split():
    _, vocab = TEXTS["story"]
    assert {"and\u00a0this", "\u65e5\u672c\x0bend"} <= set(vocab.symbols)
