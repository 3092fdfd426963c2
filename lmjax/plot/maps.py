"""Figures over two axes: the (i, j) matrix of gradients, and the error over two parameters."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from lmjax.plot.style import colour, decades, legend_above, power_ticks, styled

__all__ = ["error_surface", "gradient_map"]


@styled(size=(4.6, 3.7))
def gradient_map(
    log_norms,
    *,
    limits: tuple[float, float] | None = None,
    label=r"$\|\partial J_i/\partial h_j\|$",
    ax: Axes,
) -> Axes:
    """Draw the norm of the gradient from every loss to every state before it.

    Args:
        log_norms: natural log-norms `[T, T]`, row i the loss and column j <= i the state; what
            stands above the diagonal is not drawn, and an exact zero (-inf) is left blank.
        limits: natural log-norms at the ends of the colours, the same for maps to be compared;
            default those of the map.
        label: the norm that is drawn.
        ax: axes to draw on, new ones by default.

    >>> gradient_map(-np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))).get_xlabel()
    'state $j$'
    """
    norms = decades(log_norms)
    length = len(norms)
    shown = np.ma.masked_where(~np.tri(length, dtype=bool) | ~np.isfinite(norms), norms)
    low, high = (None, None) if limits is None else decades(limits)
    image = ax.imshow(shown, extent=(0.5, length + 0.5, length + 0.5, 0.5), vmin=low, vmax=high)
    bar = ax.figure.colorbar(image, ax=ax, label=label)
    power_ticks(bar.ax.yaxis)
    ax.grid(False)
    ax.set(xlabel="state $j$", ylabel="loss $i$")
    return ax


@styled
def error_surface(
    ws, bs, errors, paths: Mapping[str, np.ndarray] | None = None, *, ax: Axes
) -> Axes:
    """Draw the error over (w, b), and the ways of optimisers on it.

    Args:
        ws: values of w `[W]`, evenly spaced.
        bs: values of b `[B]`, evenly spaced.
        errors: `[B, W]`, as `analysis.error_surface` returns them.
        paths: points (w, b) `[K, 2]` by name; a way may leave the picture.
        ax: axes to draw on, new ones by default.

    >>> ways = {"sgd": [(0, 0), (1, 1)]}
    >>> error_surface([0, 1], [0, 1], [[0.0, 1.0], [2.0, 3.0]], ways).get_xlabel()
    '$w$'
    """
    paths = paths or {}
    # light, so that the ways stand out
    greys = ListedColormap(plt.get_cmap("Greys")(np.linspace(0, 0.55, 256)))
    image = ax.pcolormesh(ws, bs, errors, shading="nearest", cmap=greys, rasterized=True)
    ax.figure.colorbar(image, ax=ax, label="error $E(w, b)$")
    limits = ax.axis()
    for k, ((name, path), marker) in enumerate(
        zip(paths.items(), "os^Dv" * len(paths), strict=False)
    ):
        ax.plot(
            *np.transpose(path),
            marker=marker,
            markersize=2.5,
            linewidth=1,
            color=colour(k),
            label=name,
        )
        ax.plot(*path[0], "*", color="white", markeredgecolor="black", markersize=12)
    ax.axis(limits)
    ax.grid(False)
    ax.set(xlabel="$w$", ylabel="$b$")
    if paths:
        legend_above(ax)
    return ax
