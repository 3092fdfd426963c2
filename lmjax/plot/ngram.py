"""Figures of the lecture's problems with n-grams."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from lmjax.plot.style import colour, legend_above, power_ticks, styled

__all__ = ["ngram_perplexity", "ngram_sparsity", "ngram_storage"]


@styled
def ngram_sparsity(unseen: Mapping[str, Sequence[float]], *, ax: Axes) -> Axes:
    """Draw which share of a text's n-grams was never seen in training, against n.

    Args:
        unseen: by name, shares for n = 1, 2, ... such as `Sparsity.unseen_ngram`.
        ax: axes to draw on, new ones by default.

    >>> ngram_sparsity({"n-grams": [0, 0.2, 0.6]}).get_xlabel()
    '$n$'
    """
    for (name, shares), marker in zip(unseen.items(), "os^DvP*" * len(unseen), strict=False):
        ax.plot(range(1, len(shares) + 1), shares, f"{marker}-", label=name)
    ax.set(xlabel="$n$", ylabel="share of test tokens", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(ax)
    return ax


@styled
def ngram_storage(ngrams: Sequence[int], totals: Sequence[int], *, ax: Axes) -> Axes:
    """Draw how many n-grams of each length a text holds, and the bytes of a model of each order.

    Args:
        ngrams: the number of n-grams of length 1, 2, ...
        totals: the bytes of the models of order 1, 2, ...
        ax: axes to draw on, new ones by default.

    >>> ngram_storage([5, 9], [80, 240]).get_yscale()
    'log'
    """
    ax.bar(
        range(1, len(ngrams) + 1),
        ngrams,
        width=0.6,
        color=colour(0),
        alpha=0.6,
        label="n-grams of length $n$",
    )
    ax.plot(
        range(1, len(totals) + 1),
        totals,
        "o-",
        color=colour(1),
        label="bytes of the model of order $n$",
    )
    ax.set(xlabel="$n$", ylabel="n-grams, bytes", yscale="log")
    ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(ax)
    return ax


@styled
def ngram_perplexity(perplexities: Mapping[str, Sequence[float]], *, ax: Axes) -> Axes:
    """Draw test perplexity against n, a line a method of smoothing.

    Args:
        perplexities: by method, for n = 1, 2, ...; NaN where there is none.
        ax: axes to draw on, new ones by default.

    >>> ngram_perplexity({"add-one": [900.0, 2000.0]}).get_yscale()
    'log'
    """
    for (name, values), marker in zip(
        perplexities.items(), "os^DvP*" * len(perplexities), strict=False
    ):
        ax.plot(range(1, len(values) + 1), np.asarray(values, float), f"{marker}-", label=name)
    ax.set(xlabel="$n$", ylabel="test perplexity", yscale="log")
    power_ticks(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(ax)
    return ax
