"""Counting beyond memory gives the counts of counting in memory."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmjax.data import read_lines
from lmjax.models import ngram as ng
from lmjax.models.ngram import external

IDS, VOCAB = ng.read_text(read_lines(Path(__file__).parents[2] / "golden" / "story.txt"))


def assert_equal(counts, expected):
    assert counts.eos == expected.eos
    for ours, theirs in zip(counts.grams, expected.grams, strict=True):
        for name, a, b in zip(ours._fields, ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def sorted_ngrams(ids, order, eos, block):
    """What an engine hands back: the distinct longest n-grams in order, some at a time."""
    found: dict = {}
    history = [0] * order
    for token in ids:
        history = [token + 1, *history][:order]
        found[tuple(history)] = found.get(tuple(history), 0) + 1
        history = [0] * order if token == eos else history
    rows = sorted(found)
    for begin in range(0, len(rows), block):
        part = rows[begin : begin + block]
        yield np.array(part, np.int32), np.array([found[r] for r in part], np.int64)


@settings(deadline=None, max_examples=60)
@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    order=st.integers(2, 5),
    block=st.sampled_from([1, 3, 99]),
)
def test_shorter_ngrams_are_read_off_the_longest(ids, order, block):
    batches = sorted_ngrams(ids, order, 0, block)
    counts = external.assemble(batches, order, size=5, eos=0, folder=None)
    assert_equal(counts, ng.count(ids, order, size=5, eos=0))


@settings(deadline=None, max_examples=60)
@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    order=st.integers(2, 5),
    block=st.sampled_from([1, 3]),
)
def test_windows_of_a_block_see_the_words_before(ids, order, block):
    previous, external.BLOCK = external.BLOCK, block
    try:
        begins = range(0, len(ids), block)
        windows = [np.array(external.window(ids, i, order, 0)).T for i in begins]
    finally:
        external.BLOCK = previous
    history, expected = [0] * order, []
    for token in ids:
        history = [token + 1, *history][:order]
        expected.append(history)
        history = [0] * order if token == 0 else history
    assert np.concatenate(windows).tolist() == expected


@pytest.mark.parametrize("order", [1, 2, 5])
def test_duckdb_counts_what_memory_counts(order, monkeypatch):
    pytest.importorskip("duckdb")
    monkeypatch.setattr(external, "BLOCK", 300)
    counts = ng.count_on_disk(IDS, order, size=len(VOCAB), eos=VOCAB.eos, memory="64MB")
    assert_equal(counts, ng.count(IDS, order, size=len(VOCAB), eos=VOCAB.eos))


@pytest.mark.filterwarnings("ignore")
def test_spark_counts_what_memory_counts(monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setattr(external, "BLOCK", 300)
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    try:
        lines = np.split(IDS, np.flatnonzero(IDS[:-1] == VOCAB.eos) + 1)
        frame = spark.createDataFrame([(line.tolist(),) for line in lines], "ids array<int>")
        counts = ng.count_with_spark(frame, 4, size=len(VOCAB), eos=VOCAB.eos)
        assert_equal(counts, ng.count(IDS, 4, size=len(VOCAB), eos=VOCAB.eos))
    finally:
        spark.stop()


def test_a_model_from_disk_is_the_same_model():
    batches = sorted_ngrams(IDS.tolist(), 3, VOCAB.eos, 100)
    counts = external.assemble(batches, 3, size=len(VOCAB), eos=VOCAB.eos, folder=None)
    model = ng.modified_kneser_ney(counts)
    expected = ng.modified_kneser_ney(ng.count(IDS, 3, size=len(VOCAB), eos=VOCAB.eos))
    for a, b in zip(model.entries, expected.entries, strict=True):
        np.testing.assert_array_equal(a.log10p, b.log10p)
