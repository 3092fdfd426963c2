"""Pairs are read whole, split without a leak, and batched without loss."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmjax.data import parallel

IDS = st.lists(st.integers(1, 9), max_size=30)


@given(
    st.lists(st.tuples(IDS, IDS), min_size=1, max_size=30),
    st.integers(1, 60),
    st.sampled_from([None, (4, 9), (64,)]),
)
def test_every_pair_is_in_one_batch_and_comes_back(words, tokens, lengths):
    pairs = [([*x, 0], [*y, 10]) for x, y in words]
    seen = []
    for which, batch in parallel.bucketed(pairs, tokens=tokens, lengths=lengths):
        for column, i in enumerate(which):
            if i < 0:
                assert not batch.mask[:, column].any() and batch.source_mask[:, column].any()
                continue
            seen.append(i)
            source = batch.source[batch.source_mask[:, column], column]
            targets = batch.targets[batch.mask[:, column], column]
            inputs = batch.inputs[batch.mask[:, column], column]
            assert source.tolist() == pairs[i][0] and targets.tolist() == pairs[i][1]
            assert inputs.tolist() == [10, *words[i][1]]
    assert sorted(seen) == list(range(len(pairs)))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(1, 4))
def test_no_other_lengths_take_less_padding(sizes, count):
    pairs = [([1] * n, [1]) for n in sizes]
    found = parallel.bucket_lengths(pairs, count)
    cost = lambda lengths: sum(min(k for k in lengths if k >= n) for n in sizes)
    every = combinations(sorted(set(sizes)), len(found))
    assert len(found) == min(count, len(set(sizes)))
    assert cost(found) == min(cost(lengths) for lengths in every if lengths[-1] == max(sizes))


def test_a_sentence_longer_than_all_lengths_has_a_power_of_two():
    pairs = [([1] * 5000, [1]), ([1], [1])]
    shapes = [b.source.shape for _, b in parallel.bucketed(pairs, tokens=60, lengths=(6,))]
    assert shapes == [(6, 10), (8192, 1)]


def test_batches_come_in_the_order_asked_for():
    pairs = [([1] * n, [1]) for n in range(1, 21)]
    read = lambda **how: [which.tolist() for which, _ in parallel.bucketed(pairs, tokens=8, **how)]
    assert read(order=lambda numbers: numbers[::-1]) == read()[::-1]


def test_a_sentence_is_in_one_split_with_all_its_translations():
    pairs = [(f"s{i % 300}", f"t{i}") for i in range(900)]
    splits = parallel.split_pairs(pairs)
    sides = [{source for source, _ in part} for part in splits]
    assert sum(map(len, sides)) == 300 and sum(map(len, splits)) == 900
    twice = [*pairs, *pairs[:50]]  # what is there twice counts once
    assert parallel.split_pairs(twice) == splits
    assert parallel.digest(twice) == parallel.digest(pairs) != parallel.digest(pairs[1:])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a\tb\nno tab here\n", "line 2 has no tab"),
        ("a\t\n", "line 1 has an empty target"),
        ("\tb\n", "line 1 has an empty source"),
        ("\n\n", "holds none"),
    ],
)
def test_what_is_no_pair_is_named_by_its_line(tmp_path, text, named):
    (tmp_path / "pairs.tsv").write_text(text)
    with pytest.raises(ValueError, match=named):
        parallel.read_pairs(tmp_path / "pairs.tsv")


def test_two_texts_line_by_line_in_any_script(tmp_path):
    (tmp_path / "a").write_text("שלום עולם\n\nhello\n", "utf-8")
    (tmp_path / "b").write_text("안녕\n\n\u0645\u0631\u062d\u0628\u0627\n", "utf-8")
    assert parallel.read_pairs(tmp_path / "a", tmp_path / "b") == [
        ("שלום עולם", "안녕"),
        ("hello", "\u0645\u0631\u062d\u0628\u0627"),
    ]
    (tmp_path / "b").write_text("one\n", "utf-8")
    with pytest.raises(ValueError, match=r"has 3 lines and .* 1; line must follow line"):
        parallel.read_pairs(tmp_path / "a", tmp_path / "b")


def test_too_few_pairs_are_no_three_splits():
    with pytest.raises(ValueError, match="1 are too few"):
        parallel.split_pairs([("a", "b")])
