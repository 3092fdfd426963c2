"""What every figure shares: the style, the axes, ticks for logarithms, and a way into HTML."""

import base64
import io
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator

__all__ = [
    "STYLE",
    "colour",
    "data_uri",
    "decades",
    "legend_above",
    "panels",
    "power_ticks",
    "save_figures",
    "styled",
]

STYLE = Path(__file__).with_name("lmjax.mplstyle")


def styled(figure: Callable | None = None, *, size: tuple[float, float] | None = None) -> Callable:
    """Make a figure function draw in the library's style, on axes of its own if given none.

    Args:
        figure: the function.
        size: of its own axes in inches, default the style's.
    """
    if figure is None:
        return partial(styled, size=size)

    @wraps(figure)
    def draw(*args, ax: Axes | None = None, **options) -> Axes:
        with plt.style.context(STYLE):
            return figure(*args, ax=plt.subplots(figsize=size)[1] if ax is None else ax, **options)

    return draw


def panels(count: int, *, size: tuple[float, float]) -> list[Axes]:
    """Return axes side by side in one figure of the library's style, to draw on.

    >>> len(panels(2, size=(6, 3)))
    2
    """
    with plt.style.context(STYLE):
        return [*plt.subplots(1, count, figsize=size, squeeze=False)[1][0]]


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
    """Label an axis with powers of ten, or with numbers between where few powers are in view.

    The axis has a logarithmic scale, or it is linear and holds decimal logarithms of numbers that
    no float could hold.

    >>> ax = plt.subplots()[1]
    >>> _ = ax.set_ylim(np.log10([0.97, 1.03]))
    >>> power_ticks(ax.yaxis)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['0.98', '1', '1.02']
    """
    logarithm = np.log10 if axis.get_scale() == "log" else np.asarray
    view = lambda: logarithm(axis.get_view_interval())
    axis.set_major_locator(PowerLocator(axis.get_scale() == "log"))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: _label(logarithm(tick), view())))
    axis.set_minor_formatter("")


class PowerLocator(Locator):
    """Ticks at whole decimal logarithms, or at the logarithms of round numbers between them.

    Args:
        scaled: whether the axis has a logarithmic scale, and holds the numbers themselves.
    """

    def __init__(self, scaled: bool = False):
        self.scaled = scaled

    def __call__(self):
        """Return the ticks in view."""
        view = self.axis.get_view_interval()
        return 10 ** self.tick_values(*np.log10(view)) if self.scaled else self.tick_values(*view)

    def tick_values(self, vmin, vmax):
        """Return the ticks between two logarithms."""
        low, high = sorted((vmin, vmax))
        if _whole_powers(low, high):
            return MaxNLocator(nbins=7, integer=True).tick_values(low, high)
        below = np.floor(low)
        first, last = 10 ** (low - below), 10 ** (high - below)  # from 1 to 10^4, whatever `low` is
        if last > 5 * first:
            numbers = np.outer(10.0 ** np.arange(4), (1, 2, 5)).ravel()
        else:
            numbers = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(first, last)
        return below + np.log10(numbers[(numbers >= first) & (numbers <= last)])


def _whole_powers(low, high) -> bool:
    """Whether three whole powers or more lie between two logarithms."""
    return np.floor(high) - np.ceil(low) >= 2


def _label(tick, view) -> str:
    """Return 10^tick as text, with as many digits as tell it from its neighbours in view."""
    low, high = sorted(view)
    power = int(np.floor(tick + 1e-9))
    if _whole_powers(low, high):
        return f"$10^{{{power}}}$"
    digits = max(3, 2 - int(np.floor(np.log10(max(high - low, 1e-12)))))
    text = lambda number: np.format_float_positional(number, digits, fractional=False, trim="-")
    if -4 <= power <= 4:
        return text(10.0**tick)
    factor = text(10 ** (tick - power))
    return f"$10^{{{power}}}$" if factor == "1" else rf"${factor}\cdot 10^{{{power}}}$"


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


def save_figures(folder) -> list[Path]:
    """Write all open figures to a folder as 1.png, 2.png, ..., the first first, and close them.

    Args:
        folder: where; it is made if it is not there.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with plt.style.context(STYLE):
        for k, number in enumerate(plt.get_fignums(), 1):
            files.append(folder / f"{k}.png")
            plt.figure(number).savefig(files[-1])
            plt.close(number)
    return files
