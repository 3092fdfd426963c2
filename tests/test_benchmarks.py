"""The training benchmark runs at its tiny size, and its rows say what they are said to say."""

import importlib.util
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def training():
    spec = importlib.util.spec_from_file_location("training", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["training"] = module
    spec.loader.exec_module(module)
    return module


def test_rows_compare_the_same_work_with_linen(training):
    saved = []
    cfg = training.Config(("lstm", "import"), ("tiny",), ("linen",), rounds=1, seconds=0.01)
    rows = training.run(cfg, saved.append)
    assert [(r["work"], r["peer"]) for r in rows] == [("lstm", "flax linen"), ("import", "jax"), ("import", "jax")]
    for r in rows:
        assert {"work", "config", "peer", "ratio", "low", "high", "peak_fraction", "peak_mb"} <= r.keys()
        np.testing.assert_allclose(r["ratio"], r["peer_seconds"] / r["seconds"])
        assert r["low"] <= r["ratio"] <= r["high"]
    assert 0 < rows[0]["peak_fraction"] < 1
    assert rows[0]["loss_difference"] < 1e-5 and rows[0]["update_difference"] < 1e-3
    assert saved[-1] == rows and training.table(rows).count("\n") == 7
    training.figure(rows).canvas.draw()
    plt.close("all")


def test_an_unknown_name_is_refused(training):
    with pytest.raises(ValueError, match="flux"):
        training.run(training.Config(peers=("flux",)))


def test_operations_are_those_of_the_matrix_products(training):
    size = training.Size(B=2, T=3, H=4, layers=2)
    assert training.flops(training.WORKS["lstm"], size) == 3 * 2 * (2 * 3) * 2 * (4 + 4) * 16
    assert training.flops(training.WORKS["lm-10k"], size._replace(V=7)) == 3 * 2 * 6 * (2 * 8 * 16 + 4 * 7)


def test_growth_finds_the_exponent(training, monkeypatch, tmp_path):
    took = lambda work, by, size, seconds: [{"seconds": 1e-9 * size.T * size.H**2 * size.layers * (size.V or 1) ** 0.5}]
    monkeypatch.setattr(training, "program", took)
    training.main(training.Config(rounds=2), tmp_path, growth=True)
    curves = json.loads((tmp_path / "growth.json").read_text())
    exponents = {c["size"]: c["exponent"] for c in curves}
    assert exponents == pytest.approx({"T": 1, "B": 0, "H": 2, "layers": 1, "V": 0.5}, abs=1e-9)
    assert (tmp_path / "growth.png").stat().st_size > 1000
    plt.close("all")
