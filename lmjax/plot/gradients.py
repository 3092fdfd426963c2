"""Figures of what gradients do through time."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lmjax.plot.style import colour, legend_above, log10, power_ticks, styled

__all__ = ["eigenvalues", "lag_profiles", "state_gradients"]


@styled
def eigenvalues(spectra: Mapping[str, np.ndarray], *, ax: Axes) -> Axes:
    """Draw eigenvalues of recurrent matrices on the complex plane, with the unit circle and the spectral radius rho.

    Args:
        spectra: eigenvalues `[n]`, complex, by name, e.g. before and after training.
        ax: axes to draw on, new ones by default.

    >>> eigenvalues({"before": [0.5 + 0.5j, 0.5 - 0.5j]}).get_aspect()
    1.0
    """
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="0.6", linestyle="-", linewidth=1)
    for k, ((name, values), marker) in enumerate(zip(spectra.items(), "o^sDv" * len(spectra), strict=False)):
        values = np.asarray(values)
        (points,) = ax.plot(values.real, values.imag, marker, color=colour(k))
        points.set(label=rf"{name}, $\rho$ = {np.abs(values).max():.3g}", fillstyle="full" if k % 2 else "none")
    ax.set(xlabel=r"Re $\lambda_i$", ylabel=r"Im $\lambda_i$", aspect="equal")
    legend_above(ax)
    return ax


@styled
def lag_profiles(profiles: Mapping[str, np.ndarray], *, ylabel=r"$\|\partial h_i/\partial h_j\|$", ax: Axes) -> Axes:
    r"""Draw how a norm changes with the lag: the median over starts, and bands of 50 % and 90 % of them.

    Args:
        profiles: natural log-norms `[starts, lags]` by name, lag 0 first; NaN where a start has no
            such lag, -inf for an exact zero (a median of zero ends its line).
        ylabel: the norm that is drawn.
        ax: axes to draw on, new ones by default.

    >>> lag_profiles({"rnn": -0.5 * np.arange(9.0)[None]}).get_xlabel()
    'lag $\\ell = i - j$'
    """
    for name, norms in profiles.items():
        norms = log10(norms)
        norms = norms[:, ~np.isnan(norms).all(axis=0)]
        lowest, low, median, high, highest = np.nanquantile(
            norms, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0, method="inverted_cdf"
        )
        (line,) = ax.plot(median, label=name)
        for alpha, bottom, top in ((0.15, lowest, highest), (0.3, low, high)):
            ax.fill_between(np.arange(len(median)), bottom, top, color=line.get_color(), alpha=alpha, linewidth=0)
    ax.set(xlabel=r"lag $\ell = i - j$", ylabel=ylabel)
    power_ticks(ax.yaxis)
    ax.legend()
    return ax


@styled
def state_gradients(norms: Mapping[str, np.ndarray], *, ylabel=r"$\|\partial J/\partial h_t\|$", ax: Axes) -> Axes:
    """Draw the gradient of the whole loss with respect to the state of every step.

    Args:
        norms: natural log-norms `[T]` by name; -inf, an exact zero, interrupts the line.
        ylabel: the norm that is drawn.
        ax: axes to draw on, new ones by default.

    >>> state_gradients({"lstm": [-3.0, -2.0, 0.0]}).get_xlabel()
    'step $t$'
    """
    for name, norm in norms.items():
        ax.plot(np.arange(1, len(norm) + 1), log10(norm), label=name)
    ax.set(xlabel="step $t$", ylabel=ylabel)
    power_ticks(ax.yaxis)
    ax.legend()
    return ax
