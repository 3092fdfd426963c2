"""Figures of a training run."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from lmjax.plot.style import colour, legend_above, power_ticks, styled

__all__ = ["clip_timeline", "learning_curves"]


@styled
def learning_curves(curves: Mapping[str, tuple], *, xlabel: str = "tokens seen", ax: Axes) -> Axes:
    """Draw perplexity against training: a line for the training set, markers for validation.

    Args:
        curves: for each run, by name, `(seen, train, valid)`: tokens (or steps) `[K]`, training
            perplexity `[K]`, and validation points `[M, 2]` of (seen, perplexity); K or M may be 0.
        xlabel: what `seen` counts.
        ax: axes to draw on, new ones by default.

    >>> learning_curves({"lstm": ([1, 2], [90.0, 60.0], [(2, 70.0)])}).get_yscale()
    'log'
    """
    for (name, (seen, train, valid)), marker in zip(
        curves.items(), "osD^vP*" * len(curves), strict=False
    ):
        (line,) = ax.plot(
            seen, train, linewidth=0.9, alpha=0.8, label=f"{name}, training" if len(seen) else None
        )
        if len(valid):
            (points,) = ax.plot(*np.transpose(valid), marker, color=line.get_color())
            points.set(label=f"{name}, validation", markeredgecolor="white")
    ax.set(xlabel=xlabel, ylabel=r"perplexity $\exp J(\theta)$", yscale="log")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    power_ticks(ax.yaxis)
    ax.legend(loc="upper right")
    return ax


@styled
def clip_timeline(norms, max_norm: float, *, ax: Axes) -> Axes:
    r"""Draw the gradient norm before clipping at every step, and where it met the threshold.

    Args:
        norms: ||g|| before clipping `[K]`, `ClipState.norm` at each step; inf or NaN where the
            gradient was not finite, marked at the upper edge.
        max_norm: the threshold.
        ax: axes to draw on, new ones by default.

    >>> clip_timeline([0.5, 3.0, 0.7], 1.0).get_ylabel()
    '$\\|g\\|$ before clipping'
    """
    norms = np.asarray(norms, np.float64)
    steps = np.arange(1, len(norms) + 1)
    over, bad = norms > max_norm, ~np.isfinite(norms)
    ax.plot(steps, np.where(bad, np.nan, norms), color="0.35", linestyle="-", linewidth=0.8)
    ax.plot(
        steps[over & ~bad],
        norms[over & ~bad],
        "o",
        color=colour(1),
        markersize=3,
        label=f"scaled down ({np.sum(over & ~bad)} of {len(norms)})",
    )
    if bad.any():
        edge = ax.get_xaxis_transform()
        ax.plot(
            steps[bad],
            np.full(bad.sum(), 0.98),
            "kx",
            transform=edge,
            label=f"not finite ({bad.sum()})",
        )
    ax.axhline(max_norm, color=colour(0), linestyle="--", label=f"threshold {max_norm:g}")
    ax.set(xlabel="step", ylabel=r"$\|g\|$ before clipping", yscale="log")
    power_ticks(ax.yaxis)
    legend_above(ax)
    return ax
