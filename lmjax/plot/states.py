"""Figures of states."""

import numpy as np
from matplotlib.axes import Axes

from lmjax.plot.style import colour, styled

__all__ = ["fixed_points"]


@styled(size=(4.4, 3.7))
def fixed_points(points, stable, paths, *, ax: Axes) -> Axes:
    """Draw points and the paths around them, on the plane in which the paths spread most.

    The plane is that of the first two principal components of all states on the paths.

    Args:
        points: states `[M, S]`.
        stable: bool `[M]`, see `analysis.FixedPoints`.
        paths: states `[K, T, S]` of K runs.
        ax: axes to draw on, new ones by default.

    >>> turn = np.linspace(0, 7, 50)[:, None]
    >>> path = np.concatenate([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    >>> fixed_points(np.zeros((1, 3)), [True], path[None]).get_xlabel()
    'first principal component, 55 % of the variance'
    """
    points, paths = (np.asarray(x, np.float64) for x in (points, paths))
    flat = paths.reshape(-1, paths.shape[-1])
    centre = flat.mean(0)
    _, spread, axes = np.linalg.svd(flat - centre, full_matrices=False)
    share = spread**2 / max((spread**2).sum(), np.finfo(float).tiny)
    plane = lambda x: ((x - centre) @ axes[:2].T).T
    for path in paths:
        ax.plot(*plane(path), color="0.75", linestyle="-", linewidth=0.6, zorder=1)
    for kind, marker, k in ((True, "o", 0), (False, "x", 1)):
        chosen = points[np.asarray(stable, bool) == kind]
        name = f"{len(chosen)} {'stable' if kind else 'unstable'}"
        ax.plot(*plane(chosen), marker, color=colour(k), label=name, zorder=2 + kind)
    ax.set(
        xlabel=f"first principal component, {100 * share[0]:.0f} % of the variance",
        ylabel=f"second, {100 * share[1]:.0f} %",
    )
    ax.legend()
    return ax
