"""The n-gram experiment runs on a small corpus, and its figure comes from JSON."""

import importlib.util
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).parents[2]


def test_the_experiment_runs_on_a_small_corpus(tmp_path):
    spec = importlib.util.spec_from_file_location(
        "ngram_experiment", ROOT / "experiments" / "ngram.py"
    )
    experiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(experiment)
    story = (ROOT / "tests" / "golden" / "story.txt").read_text("utf-8").splitlines(keepends=True)
    for split, lines in {"train": story[:70], "valid": story[70:80], "test": story[80:]}.items():
        (tmp_path / f"{split}.txt").write_text("".join(lines), "utf-8")
    result = experiment.run(experiment.Config(corpus=str(tmp_path), orders=(1, 3), words=5))
    result = json.loads(json.dumps(result))
    assert result["ngrams"] == sorted(result["ngrams"])
    assert np.all(np.diff(result["unseen_ngram"]) >= 0)
    assert result["impossible"][1] > 0
    experiment.figure(result).canvas.draw()
    plt.close("all")
