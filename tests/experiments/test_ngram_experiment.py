"""The experiments on counts run on a small corpus, and their figures come from JSON."""

import importlib.util
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def corpus(tmp_path):
    story = (ROOT / "tests" / "golden" / "story.txt").read_text("utf-8").splitlines(keepends=True)
    for split, lines in {"train": story[:70], "valid": story[70:80], "test": story[80:]}.items():
        (tmp_path / f"{split}.txt").write_text("".join(lines), "utf-8")
    return str(tmp_path)


def run(name, **settings):
    script = ROOT / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_experiment", script)
    experiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(experiment)
    result = json.loads(json.dumps(experiment.run(experiment.Config(**settings))))
    experiment.figure(result).canvas.draw()
    plt.close("all")
    return result


def test_ngrams(corpus):
    result = run("ngram", corpus=corpus, orders=(1, 3), words=5)
    assert result["ngrams"] == sorted(result["ngrams"])
    assert np.all(np.diff(result["unseen_ngram"]) >= 0)
    assert result["impossible"][1] > 0


def test_sparse_matrices(corpus):
    rows = {row["system"]: row for row in run("snm", corpus=corpus, order=3)["rows"]}
    assert rows["SNM3"]["perplexity"] < rows["SNM3, no factors"]["perplexity"]
    assert rows["SNM3"]["links"] < rows["SNM3-skip"]["links"]
    assert len({row["tokens"] for row in rows.values()}) == 1
