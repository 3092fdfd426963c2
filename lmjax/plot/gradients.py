"""Figures of what gradients do through time."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lmjax.plot.style import colour, decades, legend_above, power_ticks, styled

__all__ = [
    "contribution_bars",
    "eigenvalues",
    "gate_scatter",
    "lag_profiles",
    "state_gradients",
    "truncation_curve",
]


@styled(size=(3.7, 3.7))
def eigenvalues(spectra: Mapping[str, np.ndarray], *, ax: Axes) -> Axes:
    """Draw eigenvalues of recurrent matrices, with the unit circle and the spectral radius rho.

    Args:
        spectra: eigenvalues `[n]`, complex, by name, e.g. before and after training.
        ax: axes to draw on, new ones by default.

    >>> eigenvalues({"before": [0.5 + 0.5j, 0.5 - 0.5j]}).get_aspect()
    1.0
    """
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="0.6", linestyle="-", linewidth=1)
    for k, ((name, values), marker) in enumerate(
        zip(spectra.items(), "o^sDv" * len(spectra), strict=False)
    ):
        values = np.asarray(values)
        (points,) = ax.plot(values.real, values.imag, marker, color=colour(k))
        points.set(
            label=rf"{name}, $\rho$ = {np.abs(values).max():.3g}",
            fillstyle="full" if k % 2 else "none",
        )
    ax.set(xlabel=r"Re $\lambda_i$", ylabel=r"Im $\lambda_i$")
    ax.set_aspect("equal", adjustable="datalim")
    legend_above(ax)
    return ax


@styled
def lag_profiles(
    profiles: Mapping[str, np.ndarray], *, ylabel=r"$\|\partial s_i/\partial s_j\|$", ax: Axes
) -> Axes:
    r"""Draw how a norm changes with the lag: the median over starts, bands of 50 % and 90 %.

    Args:
        profiles: natural log-norms `[starts, lags]` by name, lag 0 first; NaN where a start has no
            such lag, -inf for an exact zero (a median of zero ends its line); a name of which
            all is NaN is in the legend alone.
        ylabel: the norm that is drawn.
        ax: axes to draw on, new ones by default.

    >>> lag_profiles({"rnn": -0.5 * np.arange(9.0)[None]}).get_xlabel()
    'lag $\\ell = i - j$'
    """
    for name, norms in profiles.items():
        norms = decades(norms)
        norms = norms[:, ~np.isnan(norms).all(axis=0)]
        if not norms.size:
            ax.plot([], label=name)
            continue
        lowest, low, median, high, highest = np.nanquantile(
            norms, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0, method="inverted_cdf"
        )
        (line,) = ax.plot(median, label=name)
        for alpha, bottom, top in ((0.15, lowest, highest), (0.3, low, high)):
            ax.fill_between(
                np.arange(len(median)),
                bottom,
                top,
                color=line.get_color(),
                alpha=alpha,
                linewidth=0,
            )
    ax.set(xlabel=r"lag $\ell = i - j$", ylabel=ylabel)
    ax.locator_params(axis="x", integer=True)
    power_ticks(ax.yaxis)
    ax.legend()
    return ax


@styled
def state_gradients(
    norms: Mapping[str, np.ndarray], *, ylabel=r"$\|\partial J/\partial h_t\|$", ax: Axes
) -> Axes:
    """Draw the gradient of the whole loss with respect to the state of every step.

    Args:
        norms: natural log-norms `[T]` by name; -inf, an exact zero, interrupts the line.
        ylabel: the norm that is drawn.
        ax: axes to draw on, new ones by default.

    >>> state_gradients({"lstm": [-3.0, -2.0, 0.0]}).get_xlabel()
    'step $t$'
    """
    for name, norm in norms.items():
        ax.plot(np.arange(1, len(norm) + 1), decades(norm), label=name)
    ax.set(xlabel="step $t$", ylabel=ylabel)
    ax.locator_params(axis="x", integer=True)
    power_ticks(ax.yaxis)
    ax.legend()
    return ax


@styled
def contribution_bars(
    shares, *, ylabel=r"share of $\partial J/\partial W|_{(t)}$", ax: Axes
) -> Axes:
    """Draw each step's signed share of a gradient, dJ/dW = sum_t dJ/dW|_(t); the shares sum to 1.

    Args:
        shares: `[T]`, <g_t, G> / ||G||^2 for the step's contribution g_t to the gradient G.
        ylabel: what is shared.
        ax: axes to draw on, new ones by default.

    >>> [text.get_text() for text in contribution_bars([0.5, -0.25, 0.75]).get_legend().get_texts()]
    ['along the gradient, 1.25 in all', 'against it, -0.25 in all']
    """
    shares = np.asarray(shares, np.float64)
    steps = np.arange(1, len(shares) + 1)
    for k, (name, kept) in enumerate(
        {"along the gradient": shares >= 0, "against it": shares < 0}.items()
    ):
        if not kept.any():
            continue
        label = f"{name}, {shares[kept].sum():.3g} in all"
        ax.bar(
            steps[kept],
            shares[kept],
            width=1,
            color=colour(k),
            hatch="//" * k,
            edgecolor="white",
            label=label,
        )
    ax.axhline(0, color="0.3", linestyle="-", linewidth=0.8)
    ax.set(xlabel="step $t$", ylabel=ylabel)
    legend_above(ax)
    return ax


@styled
def truncation_curve(curves: Mapping[str, tuple], *, ax: Axes) -> Axes:
    """Draw what truncated backpropagation misses of the gradient against the steps k it goes back.

    Args:
        curves: for each model, by name, `(ks, bias)`: steps `[K]` and relative bias ||g_k - G|| /
            ||G|| `[K]`.
        ax: axes to draw on, new ones by default.

    >>> truncation_curve({"rnn": ([1, 2, 4], [0.9, 0.5, 0.0])}).get_xscale()
    'log'
    """
    for (name, (ks, bias)), marker in zip(curves.items(), "os^Dv" * len(curves), strict=False):
        ax.plot(ks, bias, marker=marker, label=name)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="steps back $k$", ylabel=r"relative bias $\|g_k - G\| / \|G\|$")
    ax.set_ylim(bottom=0)
    legend_above(ax)
    return ax


@styled(size=(4.4, 4.2))
def gate_scatter(saturation: Mapping[str, tuple], *, ax: Axes) -> Axes:
    """Draw every unit of every gate by how often it is shut and how often it is open.

    A unit at the lower right is shut nearly always, at the upper left open nearly always, at the
    origin never saturated; none lies beyond the diagonal.

    Args:
        saturation: `(left, right)` by gate, each `[n]`, as `analysis.gate_saturation` returns it.
        ax: axes to draw on, new ones by default.

    >>> gate_scatter({"f": ([0.1, 0.0], [0.2, 0.9])}).get_ylabel()
    'share of steps open (right-saturated)'

    References: Karpathy, Johnson and Fei-Fei (2015).
    """
    ax.plot([0, 1], [1, 0], color="0.6", linestyle="-", linewidth=1)
    for k, ((name, (left, right)), marker) in enumerate(
        zip(saturation.items(), "o^sDv" * 9, strict=False)
    ):
        (points,) = ax.plot(
            left, right, marker, color=colour(k), label=f"${name}$", alpha=0.8, clip_on=False
        )
        points.set(fillstyle="full" if k % 2 else "none")
    ax.set(
        xlabel="share of steps shut (left-saturated)",
        ylabel="share of steps open (right-saturated)",
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(loc="upper right")
    return ax
