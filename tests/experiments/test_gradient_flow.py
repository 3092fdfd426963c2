import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

EXPERIMENT = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "gradient_flow.py"))


def test_the_fast_setting_runs_and_its_figure_comes_from_json():
    result = EXPERIMENT["run"](EXPERIMENT["FAST"])
    for row in result["rows"]:
        assert abs(sum(row["shares"]) - 1) < 1e-9  # of a gradient
        assert row["relative_bias"][-1] < 1e-9  # k = T
        assert (np.array(row["by_lag"])[:, 0] == 0).all()  # the diagonal relative to itself
    EXPERIMENT["figure"](result).canvas.draw()
    plt.close("all")
