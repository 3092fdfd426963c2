"""One style, self-contained output, and matplotlib nowhere else."""

import ast
import base64
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lmjax
from lmjax import plot
from lmjax.plot.style import colour

ROOT = Path(lmjax.__file__).parent


def test_matplotlib_is_imported_in_the_plot_room_alone():
    for path in ROOT.rglob("*.py"):
        modules = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert "matplotlib" not in modules or path.relative_to(ROOT).parts[0] == "plot", path


def test_a_figure_leaves_the_users_settings_alone_and_uses_ours():
    before = dict(plt.rcParams)
    ax = plot.state_gradients({"rnn": [0.0, -1.0], "lstm": [0.0, 0.0]})
    assert dict(plt.rcParams) == before
    with plt.style.context(plot.STYLE):
        assert [line.get_color().lower() for line in ax.lines] == [colour(0), colour(1)]
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()  # told apart in grey


def test_the_styles_colours_differ_under_colour_blindness():
    """Machado, Oliveira and Fernandes (2009): the matrices of full protanopia and deuteranopia."""
    blind = {
        "none": np.eye(3),
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    }
    with plt.style.context(plot.STYLE):
        colours = np.array([plt.matplotlib.colors.to_rgb(colour(k)) for k in range(7)])
    for name, matrix in blind.items():
        seen = np.clip(colours**2.2 @ np.transpose(matrix), 0, 1) ** (1 / 2.2)
        distance = np.linalg.norm(seen[:, None] - seen, axis=-1) + 2 * np.eye(7)
        assert distance.min() > 0.15, name


@pytest.mark.parametrize("format", ["svg", "png"])
def test_a_data_uri_holds_the_whole_figure(format):
    address = plot.data_uri(plot.clip_timeline([1.0, 2.0], 1.5), format=format)
    assert not plt.get_fignums()
    body = base64.b64decode(address.partition("base64,")[2])
    if format == "png":
        assert body.startswith(b"\x89PNG")
        return
    links = [
        v
        for e in ElementTree.fromstring(body).iter()
        for k, v in e.attrib.items()
        if k.endswith("href")
    ]
    assert all(link.startswith(("#", "data:")) for link in links)
    # the same figure, the same bytes
    assert address == plot.data_uri(plot.clip_timeline([1.0, 2.0], 1.5))


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="format must be one of"):
        plot.data_uri(plt.subplots()[1], format="pdf")
