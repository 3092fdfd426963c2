"""Every notebook runs from top to bottom, at small sizes."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_the_notebook_runs_and_leaves_its_figures(path, monkeypatch, tmp_path):
    monkeypatch.setenv("LMJAX_FAST", "1")
    monkeypatch.chdir(tmp_path)
    code = path.read_text("utf-8")
    drawn = code.count("\nplot.") + code.count("plt.subplots()")
    runpy.run_path(str(path))
    files = sorted((tmp_path / "out" / "notebooks" / path.stem).iterdir())
    assert [file.name for file in files] == [f"{k}.png" for k in range(1, drawn + 1)]
    assert all(file.stat().st_size > 1000 for file in files) and not plt.get_fignums()
