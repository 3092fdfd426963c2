"""What every figure shares: the style, the axes, ticks for logarithms, and a way into HTML."""

import base64
import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

__all__ = ["STYLE", "colour", "data_uri", "decades", "legend_above", "power_ticks", "styled"]

STYLE = Path(__file__).with_name("lmjax.mplstyle")


def styled(figure: Callable) -> Callable:
    """Make a figure function draw in the library's style, on axes of its own if given none."""

    @wraps(figure)
    def draw(*args, ax: Axes | None = None, **options) -> Axes:
        with plt.style.context(STYLE):
            return figure(*args, ax=plt.subplots()[1] if ax is None else ax, **options)

    return draw


def colour(k: int) -> str:
    """Return the style's k-th colour: matplotlib reads "C0" when it draws, outside the style."""
    return to_hex(f"C{k}")


def legend_above(ax: Axes) -> None:
    """Put the legend on top of the axes, where it covers no data, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    points = ax.get_window_extent().width * 72 / ax.figure.dpi
    entry = 5 * max(map(len, labels), default=0) + 40
    ax.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=max(1, int(points // entry))
    )


def decades(log_norm) -> np.ndarray:
    """Return the decimal logarithm of a natural one; -inf, an exact zero, is not drawn."""
    return np.asarray(log_norm, np.float64) / np.log(10)


def power_ticks(axis) -> None:
    """Label an axis that holds decimal logarithms with powers of ten, which no float could hold."""
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"$10^{{{value:.0f}}}$"))


def data_uri(ax: Axes, *, format: str = "svg") -> str:
    """Return the figure of `ax` as a `data:` address, all of it inside, and close the figure.

    Args:
        ax: what a function of this room returned.
        format: `"svg"`, or `"png"` for a figure of very many points.

    >>> data_uri(plt.subplots()[1])[:26]
    'data:image/svg+xml;base64,'
    """
    types = {"svg": "image/svg+xml", "png": "image/png"}
    if format not in types:
        raise ValueError(f"data_uri: format must be one of {sorted(types)}, got {format!r}")
    figure = cast(Figure, ax.get_figure(root=True))
    with plt.style.context(STYLE):
        figure.savefig(
            buffer := io.BytesIO(),
            format=format,
            metadata={"Date": None} if format == "svg" else None,
        )
    plt.close(figure)
    return f"data:{types[format]};base64,{base64.b64encode(buffer.getvalue()).decode()}"
