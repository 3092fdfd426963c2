"""The benchmarks run at a tiny size, and their rows say what they are said to say."""

import importlib.util
import json
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training():
    return load("training")


@pytest.fixture(scope="module")
def cycles():
    return load("cycles")


def test_rows_compare_the_same_work_with_linen(training):
    saved = []
    cfg = training.Config(("lstm", "import"), ("tiny",), ("linen",), rounds=1, seconds=0.01)
    rows = training.run(cfg, saved.append)
    assert [(r["work"], r["peer"]) for r in rows] == [
        ("lstm", "flax linen"),
        ("import", "jax"),
        ("import", "jax"),
    ]
    for r in rows:
        assert {
            "work",
            "config",
            "peer",
            "ratio",
            "low",
            "high",
            "peak_fraction",
            "peak_mb",
        } <= r.keys()
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
    assert training.flops(training.WORKS["lm-10k"], size._replace(V=7)) == 3 * 2 * 6 * (
        2 * 8 * 16 + 4 * 7
    )


def test_growth_finds_the_exponent(training, monkeypatch, tmp_path):
    took = lambda work, by, size, seconds: [
        {"seconds": 1e-9 * size.T * size.H**2 * size.layers * (size.V or 1) ** 0.5}
    ]
    monkeypatch.setattr(training, "program", took)
    training.main(training.Config(rounds=2), tmp_path, growth=True)
    curves = json.loads((tmp_path / "growth.json").read_text())
    exponents = {c["size"]: c["exponent"] for c in curves}
    assert exponents == pytest.approx({"T": 1, "B": 0, "H": 2, "layers": 1, "V": 0.5}, abs=1e-9)
    assert (tmp_path / "growth.png").stat().st_size > 1000
    plt.close("all")


def test_every_instant_of_a_step_is_counted_once(cycles, monkeypatch, tmp_path):
    turn = lambda t: [
        (t, t + 3, "ynn_fusion"),
        (t + 1, t + 4, "dot.1"),
        (t + 3, t + 5, "tanh_fusion"),
    ]  # of 7 ms
    forward = [event for t in (10, 17) for event in turn(t)]
    backward = [(a + 20, b + 20, name + "0") for a, b, name in forward]
    events = [(0, 8, "ynn_fusion.7"), *forward, *backward, (47, 50, "copy")]
    monkeypatch.setattr(cycles, "trace", lambda step: events)
    monkeypatch.setattr(cycles, "jax_step", lambda by, p: (lambda: time.sleep(0.1) or 0.0, {}))
    monkeypatch.setitem(cycles.CONFIGS, "S", cycles.Size(B=1, T=2, H=4))
    cycles.main(cycles.Config(("lstm",), ("S",)), tmp_path)
    rows = json.loads((tmp_path / "cycles.json").read_text())
    found = {r["loop"]: [r[kind] for kind in cycles.KINDS] for r in rows}
    loop = [8, 1, 2]  # from the first product to the end of the last
    assert found == {"forward 1": loop, "backward 1": loop, "rest": [8, 5, 15]}
    assert (
        rows[0]["cores"] == rows[1]["cores"] == pytest.approx((4 * 3 + 3) / 11)
    )  # what runs in 11 ms
    assert (tmp_path / "cycles.png").stat().st_size > 1000
    plt.close("all")


def test_output_layers_that_compute_the_same_have_the_same_loss(monkeypatch, tmp_path):
    bench = load("heads")
    monkeypatch.setattr(bench, "program", lambda *task: [bench.one(*task)])
    pairs = [("sampled", "sampled, all rows")]
    if find_spec("torch"):
        pairs += [("softmax", bench.TORCH), ("adaptive", bench.PEER)]
    names = tuple(name for pair in pairs for name in pair)
    cfg = replace(bench.FAST, heads=names)
    bench.main(cfg, tmp_path)
    rows = {r["head"]: r for r in json.loads((tmp_path / "heads.json").read_text())}
    assert tuple(rows) == names and bench.table([*rows.values()]).count("\n") == 2 + len(rows)
    for pair in pairs:
        np.testing.assert_allclose(*(rows[name]["losses"] for name in pair), 1e-5)
    assert (tmp_path / "heads.png").stat().st_size > 1000
    plt.close("all")
    with pytest.raises(ValueError, match="hat"):
        bench.run(replace(cfg, heads=("hat",)))
