"""Figures between the words of a sentence and those of its translation."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from lmjax.plot.style import styled

__all__ = ["word_map"]


@styled(size=(4.6, 3.9))
def word_map(
    values,
    source: Sequence[str],
    target: Sequence[str],
    *,
    label: str,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    ax: Axes,
) -> Axes:
    r"""Draw a number for each word of a translation and each of its source.

    Attention a_ij for example, or the norm of a gradient \|dJ_i/dx_j\|.

    Args:
        values: `[T, S]`; what is NaN is left blank.
        source: S words.
        target: T words.
        label: what the numbers are.
        limits: numbers at the ends of the colours, default the least and the largest.
        cmap: the colours, by a name of matplotlib, default the style's.
        ax: axes to draw on, new ones by default.

    Raises:
        ValueError: the words are not as many as the values.

    >>> word_map(np.eye(2), ["a", "b"], ["x", "y"], label="attention").get_xlabel()
    'source'
    """
    values = np.asarray(values, np.float64)
    if values.shape != (len(target), len(source)):
        raise ValueError(
            f"word_map: values for {len(target)} words of {len(source)} are needed, "
            f"got an array of shape {values.shape}"
        )
    low, high = limits or (None, None)
    image = ax.imshow(values, vmin=low, vmax=high, cmap=cmap, aspect="auto")
    ax.set_xticks(range(len(source)), source, rotation=90)
    ax.set_yticks(range(len(target)), target)
    ax.grid(False)
    ax.set(xlabel="source", ylabel="translation")
    ax.figure.colorbar(image, ax=ax, label=label)
    return ax
