"""The figure of systems side by side."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from lmjax.plot.style import colour, power_ticks, styled

__all__ = ["systems"]

MARKERS = "os^DvP*Xp<>hd"


@styled(size=(7.2, 3.6))
def systems(points: Mapping[str, tuple[float, float]], *, xlabel: str, ax: Axes) -> Axes:
    """Draw the perplexity of systems against what each of them costs.

    Args:
        points: for each system, by name, its cost and its perplexity.
        xlabel: what the cost is.
        ax: axes to draw on, new ones by default.

    >>> systems({"KN5": (3, 220.1), "LSTM": (600, 109.9)}, xlabel="seconds").get_ylabel()
    'test perplexity'
    """
    for k, (name, point) in enumerate(points.items()):
        marker = MARKERS[k % len(MARKERS)]
        ax.plot(*point, marker, label=name, color=colour(k % 7), markersize=7, linestyle="")
    ax.set(xlabel=xlabel, ylabel="test perplexity", xscale="log", yscale="log")
    ax.margins(0.1)
    for axis in (ax.xaxis, ax.yaxis):
        power_ticks(axis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
