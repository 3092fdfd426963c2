"""The experiments run at their fast setting, and the probes' bookkeeping is right."""

import importlib.util
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    [
        "cells",
        "heads",
        "long_sequences",
        "probes",
        "monitoring",
        "published",
        "window",
        "ladder",
        "translation",
        "fixed_points",
    ],
)
def test_the_fast_setting_runs_and_its_figure_comes_from_json(name):
    experiment = load(name)
    result = json.loads(json.dumps(experiment.run(experiment.FAST)))
    experiment.figure(result).canvas.draw()
    plt.close("all")


def test_rank_correlation_is_spearmans():
    rank_correlation = load("probes").rank_correlation
    np.testing.assert_allclose(rank_correlation([1, 5, 2, 9], np.exp([1, 5, 2, 9])), 1)
    np.testing.assert_allclose(rank_correlation([1, 2, 3], [3, 2, 1]), -1)
    # ties
    np.testing.assert_allclose(rank_correlation([0, 0, 1, 2], [0, 1, 2, 3]), 4.5 / np.sqrt(4.5 * 5))
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0


def test_published_models_have_their_published_numbers_of_parameters():
    """By closed forms: tables over the vocabulary, and the matrices of each layer."""
    experiment = load("published")
    v, million = 793_471, 1_000_000
    projected = lambda n, m: 2 * n * 4 * m + 4 * m + m * n
    full = lambda v, n: v * n + v
    lstm = lambda n_in, n: (n_in + n + 1) * 4 * n
    tails = [(36_000, 512), (160_000, 128), (v - 200_000, 32)]
    adaptive = 4_003 * 2048 + sum(2048 * d + k * d for k, d in tails)
    expected = {
        "LSTM-2048-512": (v * 512, projected(512, 2048), full(v, 512)),
        "2-layer LSTM-8192-1024": (v * 1024, 2 * projected(1024, 8192), full(v, 1024)),
        "LSTM-2048, adaptive": (v * 256, lstm(256, 2048), adaptive),
        "2-layer LSTM-2048, adaptive": (v * 256, lstm(256, 2048) + lstm(2048, 2048), adaptive),
        "RNN-2048, BlackOut": (million * 2048, 2 * 2048**2 + 2048, full(million, 2048)),
    }
    rows = {
        row["system"]: row for row in experiment.run(experiment.Config(devices=(1, 32)))["rows"]
    }
    assert {name: tuple(row["parameters"].values()) for name, row in rows.items()} == expected
    for row in rows.values():
        assert row["bytes"][0] == 2 * 4 * row["total"]  # parameters and Adagrad's sums
        if row["published"]:
            assert abs(row["total"] / row["published"] - 1) < 0.02
    embed, cell, head = expected["RNN-2048, BlackOut"]
    assert rows["RNN-2048, BlackOut"]["bytes"][1] == 8 * ((embed + head) // 32 + cell)
