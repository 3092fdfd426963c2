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
from lmjax.plot.style import colour, decades, power_ticks

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


def ticks(low, high):
    """The labels of an axis that shows the decimal logarithms from low to high, and the ticks."""
    ax = plt.subplots()[1]
    ax.set_ylim(low, high)
    power_ticks(ax.yaxis)
    inside = [
        (label.get_text(), at)
        for label, at in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True)
        if min(low, high) <= at <= max(low, high)
    ]
    return [text for text, _ in inside], [at for _, at in inside]


def value(label):
    """The decimal logarithm of the number that a label names, as a reader takes it."""
    plain = label.strip("$")
    factor, _, power = plain.replace("10^{", "1\\cdot 10^{", "\\cdot" not in plain).partition(
        "\\cdot 10^{"
    )
    return np.log10(float(factor)) + int(power.strip("}") or 0)


@pytest.mark.parametrize("middle", [-1500.0, -300.0, -7.3, -1.0, 0.0, 0.001, 0.48, 3.0, 250.2])
@pytest.mark.parametrize("width", [1e-9, 1e-6, 1e-3, 0.02, 0.3, 0.9, 1.0, 2.0, 2.5, 5.0, 80.0])
def test_a_tick_stands_where_its_label_says(middle, width):
    labels, places = ticks(middle - width / 2, middle + width / 2)
    assert 2 <= len(labels) == len(set(labels)) <= 10
    np.testing.assert_allclose([value(text) for text in labels], places, atol=width / 50)


@pytest.mark.parametrize(
    "low, high, labels",
    [
        (np.log10(0.965), np.log10(1.035), ["0.98", "1", "1.02"]),  # a flat profile
        (-0.05, 0.05, ["0.9", "0.95", "1", "1.05", "1.1"]),  # a constant, as matplotlib widens it
        (-0.001, 0.001, ["0.998", "0.999", "1", "1.001", "1.002"]),
        (np.log10(0.15), np.log10(1.5), ["0.2", "0.5", "1"]),  # one decade
        (-2, 0, ["$10^{-2}$", "$10^{-1}$", "$10^{0}$"]),
        (0, -2, ["$10^{-2}$", "$10^{-1}$", "$10^{0}$"]),  # turned round
        (
            -300.1,
            -299.9,
            [
                "$8\\cdot 10^{-301}$",
                "$9\\cdot 10^{-301}$",
                "$10^{-300}$",
                "$1.1\\cdot 10^{-300}$",
                "$1.2\\cdot 10^{-300}$",
            ],
        ),
        (
            -900,
            0,
            [
                "$10^{-900}$",
                "$10^{-750}$",
                "$10^{-600}$",
                "$10^{-450}$",
                "$10^{-300}$",
                "$10^{-150}$",
                "$10^{0}$",
            ],
        ),
    ],
)
def test_ticks_of_logarithms(low, high, labels):
    assert ticks(low, high)[0] == labels


def test_a_constant_profile_reads_its_value():
    for level, label in ((1.0, "1"), (0.5, "0.5"), (1e-300, "$10^{-300}$")):
        ax = plot.state_gradients({"flat": np.full(5, np.log(level))})
        assert label in [text.get_text() for text in ax.get_yticklabels()]


def test_natural_logarithms_become_decimal_ones():
    found = decades(np.log([1e-300, 0.01, 1.0, 1e200]))
    np.testing.assert_allclose(found, [-300, -2, 0, 200], atol=1e-12)
    assert decades(-np.inf) == -np.inf and np.isnan(decades(np.nan))


def test_open_figures_are_saved_in_their_order_and_closed(tmp_path):
    plot.state_gradients({"rnn": [0.0, -1.0]})
    plot.gradient_map(np.eye(3))
    files = plot.save_figures(tmp_path / "new" / "folder")
    assert files == [tmp_path / "new" / "folder" / f"{k}.png" for k in (1, 2)]
    heights, widths, _ = zip(*(plt.imread(file).shape for file in files), strict=True)
    assert widths[0] > widths[1] and min(heights) > 100 and not plt.get_fignums()
    assert plot.save_figures(tmp_path) == []
