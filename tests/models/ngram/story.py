"""The story's text and counts, and oracles over dictionaries."""

from pathlib import Path

import numpy as np

from lmjax.data import read_lines
from lmjax.models import ngram as ng

GOLDEN = Path(__file__).parents[2] / "golden"
TEXTS = {name: ng.read_text(read_lines(GOLDEN / f"{name}.txt")) for name in ("story", "tiny")}


def count(name, order):
    ids, vocab = TEXTS[name]
    return ng.count(ids, order, size=len(vocab), eos=vocab.eos), vocab


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
