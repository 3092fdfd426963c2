"""Counting beyond memory: an engine sorts the n-grams on disk or a cluster and streams them back.

What comes back are the distinct n-grams of the greatest length in the order of `count`, each as its
words from the last to the first. The shorter ones are read off neighbours in that order, and the
tables grow in temporary files that are paged in as they are used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import numpy as np

from lmjax.data.scratch import Scratch
from lmjax.models.ngram.counts import Counts, Grams, check

__all__ = ["count_on_disk", "count_with_spark"]

BLOCK = 1 << 16  # n-grams in memory at a time


def count_on_disk(
    ids, order: int, *, size: int, eos: int, memory: str = "1GB", folder=None
) -> Counts:
    """Count as `count` does, in memory that does not grow with the text.

    DuckDB aggregates and sorts on disk.
    Needs the package `duckdb` (`pip install lmjax[duckdb]`). It is for texts of ten million tokens
    and more: with a few million, what the engine itself needs is most of the peak, and `count`
    serves as well.

    Args:
        ids: int `[N]`, best a memory map, as those of a corpus are.
        order: n, the greatest length.
        size: V, the number of words.
        eos: the id that ends a sentence.
        memory: DuckDB's limit; beyond it, it spills to disk.
        folder: where temporary files go, default the system's.

    Raises:
        ValueError: as `count`.
    """
    import duckdb

    check(ids, order, size=size, eos=eos)
    columns = [f"w{j}" for j in range(max(order, 2))]
    names = ", ".join(columns)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        settings = {"memory_limit": memory, "threads": 1, "temp_directory": f"{place}/spill"}
        with duckdb.connect(f"{place}/counts.db", config=settings) as engine:
            types = ", ".join(f"{c} INTEGER" for c in columns)
            engine.execute(f"CREATE TABLE grams ({types}, c BIGINT)")
            for begin in range(0, len(ids), BLOCK):
                windows = window(ids, begin, len(columns), eos)
                block = dict(zip(columns, windows, strict=True))  # noqa: F841  DuckDB finds it by name
                found = f"SELECT {names}, count(*) FROM block GROUP BY ALL"
                engine.execute(f"INSERT INTO grams {found}")
            total = f"SELECT {names}, sum(c)::BIGINT AS c FROM grams GROUP BY ALL ORDER BY {names}"
            engine.execute(f"CREATE TABLE sorted AS {total}")
            rows = engine.execute("SELECT count(*) FROM sorted").fetchall()[0][0]

            def batches():
                for begin in range(0, rows, BLOCK):
                    page = f"rowid >= {begin} AND rowid < {begin + BLOCK}"
                    batch = engine.execute(f"SELECT * FROM sorted WHERE {page}").fetchnumpy()
                    yield np.column_stack([batch[c] for c in columns]), batch["c"]

            return assemble(batches(), order, size=size, eos=eos, folder=folder)


def count_with_spark(sentences, order: int, *, size: int, eos: int, folder=None) -> Counts:
    r"""Count as `count` does, on a Spark cluster, for corpora of a billion words and more.

    The cluster expands, aggregates and sorts the n-grams; the driver receives the distinct ones in
    order and keeps them in temporary files. Needs Java and the package `pyspark`
    (`pip install lmjax[spark]`).

        lines = spark.sparkContext.textFile("hdfs:///corpus/*")
        sentences = lines.map(lambda line: (vocab.encode(line + '\n').tolist(),)).toDF(["ids"])
        counts = count_with_spark(sentences, 5, size=len(vocab), eos=vocab.eos)

    Args:
        sentences: a Spark data frame with a column `ids`, array of int: one sentence each, its end
            included.
        order: n, the greatest length.
        size: V, the number of words.
        eos: the id that ends a sentence.
        folder: where the driver's temporary files go, default the system's.

    Raises:
        ValueError: there are no tokens, an id is out of range, or `order` is below 1.
    """
    from pyspark.sql import functions as f

    check(np.zeros(1, int), order, size=size, eos=eos)
    columns = [f"w{j}" for j in range(max(order, 2))]
    at = [f"IF(i >= {j}, CAST(ids[i - {j}] + 1 AS INT), 0) AS {c}" for j, c in enumerate(columns)]
    ngrams = f"explode(transform(sequence(0, size(ids) - 1), i -> struct({', '.join(at)}))) AS g"
    table = sentences.where("size(ids) > 0").selectExpr(ngrams).select("g.*")
    table = table.groupBy(*columns).agg(f.count("*").alias("c")).orderBy(*columns)

    def batches():
        block = []
        for row in table.toLocalIterator(prefetchPartitions=True):
            block.append(row)
            if len(block) == BLOCK:
                yield _split(block)
                block = []
        if block:
            yield _split(block)

    return assemble(batches(), order, size=size, eos=eos, folder=folder)


def _split(block) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(block, np.int64)
    return table[:, :-1].astype(np.int32), table[:, -1]


def window(ids, begin, order, eos) -> list[np.ndarray]:
    """Return the words of the n-grams that end at a block of tokens, from the last to the first.

    From `<s>` on, and before it, they are 0.
    """
    first = max(begin - order, 0)
    ids = np.asarray(ids[first : begin + BLOCK])
    before = np.where(ids == eos, 0, ids + 1)
    # the first is right at the text's start alone; elsewhere it lies before what the block needs
    before = np.concatenate([[0], before[:-1]]).astype(np.int32)
    words = [(ids[begin - first :] + 1).astype(np.int32)]
    for j in range(1, order):
        shifted = np.concatenate([np.zeros(j - 1, np.int32), before])[begin - first : len(ids)]
        words.append(np.where(words[-1] == 0, 0, shifted))
    return words


def assemble(batches: Iterable, order: int, *, size: int, eos: int, folder) -> Counts:
    """Read the n-grams of every length off the sorted longest ones."""
    kinds = ("i4", "i4", "i4", "i8")
    columns = {k: [Scratch(kind, folder) for kind in kinds] for k in range(2, order + 1)}
    unigrams = np.zeros(size + 1, np.int64)
    rows = dict.fromkeys(columns, 0)
    open_count, open_whole = dict.fromkeys(columns, 0), dict.fromkeys(columns, False)
    last = np.full(max(order, 2), -1)
    for words, count in batches:
        if words.min() < 0 or words.max() > size:
            span = f"{words.min() - 1} to {words.max() - 1}"
            raise ValueError(f"ids: from 0 to {size - 1}, got {span}")
        # k-grams with k > level begin here
        level = (words != np.vstack([last, words[:-1]])).argmax(1)
        last = words[-1]
        total = np.concatenate([[0], np.cumsum(count)])
        unigrams += np.bincount(words[:, 0], count, size + 1).astype(np.int64)
        unigrams[0] += count[words[:, 1] == 0].sum()
        whole = np.ones(len(words), bool)
        row = words[:, 0]
        for k, (word, left, suffix, seen) in columns.items():
            whole = whole & (words[:, k - 2] != 0)
            begins = np.flatnonzero(level < k)
            kept = begins[whole[begins]]
            word.append(words[kept, 0])
            left.append(words[kept, k - 1])
            suffix.append(row[kept])
            sizes = np.diff(total[np.append(begins, len(words))])
            open_count[k] += total[begins[0]] if len(begins) else total[-1]
            if len(begins):
                closed = np.append(open_count[k], sizes[:-1])
                seen.append(closed[np.append(open_whole[k], whole[begins[:-1]])])
                open_count[k], open_whole[k] = sizes[-1], bool(whole[begins[-1]])
            row = rows[k] + np.cumsum((level < k) & whole) - 1
            rows[k] += len(kept)
    if not unigrams.any():
        raise ValueError("ids: the text holds no tokens")
    none, every = np.zeros(size + 1, np.int32), np.arange(size + 1, dtype=np.int32)
    grams = [Grams(every, none, none, unigrams, every == 0)]
    context = key = np.zeros(0)
    for k, (word, left, suffix, seen) in columns.items():
        seen.append(np.array([open_count[k]])[[open_whole[k]]])
        words_k, left_k, suffix_k, seen_k = (x.array() for x in (word, left, suffix, seen))
        wanted = context_k = left_k
        if k > 2:
            found = Scratch("i4", folder)
            for begin in range(0, len(words_k), BLOCK):
                part = slice(begin, begin + BLOCK)
                wanted = context[suffix_k[part]].astype(np.int64) << 32 | left_k[part]
                found.append(np.searchsorted(key, wanted))
            context_k = found.array()
        grams.append(Grams(words_k, context_k, suffix_k, seen_k, left_k == 0))
        context, keys = context_k, Scratch("i8", folder)
        for begin in range(0, len(words_k), BLOCK):
            part = slice(begin, begin + BLOCK)
            keys.append(suffix_k[part].astype(np.int64) << 32 | left_k[part])
        key = keys.array()
    return Counts(tuple(grams), eos + 1)
