"""Figures of weights."""

import numpy as np
from matplotlib.axes import Axes

from lmjax.plot.style import styled

__all__ = ["position_weights"]


@styled(size=(7.2, 3.4))
def position_weights(blocks, *, ax: Axes) -> Axes:
    r"""Draw the matrices that a fixed window has for each of its positions, in one scale.

        W e = W_1 x_{t-k+1} + ... + W_k x_t

    Above each stands its norm \|W_i\|, the square root of the sum of squares.

    Args:
        blocks: `[k, n_in, n]`, the latest word's last, as `cells.Window.w`.
        ax: axes to draw on, new ones by default.

    >>> ax = position_weights(np.ones((3, 4, 9)))
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['$x_{t-2}$', '$x_{t-1}$', '$x_t$']
    """
    blocks = np.asarray(blocks, np.float64)
    count, n_in, n = blocks.shape
    limit = float(np.quantile(np.abs(blocks), 0.995)) or 1.0  # a few weights stand far out
    starts = np.arange(count) * (n_in + max(1, n_in // 12))
    for k, (start, block) in enumerate(zip(starts, blocks, strict=True), 1):
        extent = (int(start), int(start) + n_in, n, 0)
        image = ax.imshow(block.T, extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit)
        said = rf"$\|W_{{{k}}}\|$ = {np.linalg.norm(block):.3g}"
        ax.text(start + n_in / 2, 0, said, ha="center", va="bottom", fontsize=9)
    names = [f"$x_{{t-{count - k}}}$" if k < count else "$x_t$" for k in range(1, count + 1)]
    ax.set_xticks(starts + n_in / 2, names)
    ax.set(xlim=(0, starts[-1] + n_in), ylim=(n, 0), aspect="auto")
    ax.set(xlabel="features of the word at each position", ylabel="unit of $h_t$")
    ax.tick_params(axis="x", length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(image, ax=ax, label="weight", extend="both", pad=0.02)
    return ax
