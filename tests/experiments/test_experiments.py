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
    "name", ["cells", "heads", "long_sequences", "probes", "monitoring", "ladder"]
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
