"""Parameters averaged over the steps of a training, to be validated and kept in their place."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import optax

from lmjax.checks import check_positive, real
from lmjax.tree import combine, partition

__all__ = ["Averaging", "average", "check_averaging", "weight"]


class Averaging(NamedTuple):
    """How the parameters p_1, p_2, ... after each step are averaged.

        a_n = a_{n-1} + (p_n - a_{n-1}) max(1 - decay, 1/n)

    With a decay of 1 that is their mean. Below 1 it is the mean of the first 1 / (1 - decay), then
    an exponential moving average, which so is never drawn towards the first parameters.

    The default begins with the training. With a `patience` n starts at 1 when the validation has
    not become better for so many epochs, and until then nothing is averaged; with a decay of 1 that
    is NT-ASGD, which asks whether the validation is worse than the best of the epochs before.

    The cost is that of reading the parameters and the average, and of writing one of them: about
    5 % of a step that trains the rows of a batch alone, in a vocabulary of 33,278 words.

    References: Polyak and Juditsky (1992); Merity, Keskar and Socher (2018), algorithm 1.
    """

    decay: float = 1.0
    patience: int | None = None


def check_averaging(averaging: Averaging) -> None:
    """Refuse an average that is none.

    >>> check_averaging(Averaging(decay=1.5))
    Traceback (most recent call last):
        ...
    ValueError: average: decay must be in [0, 1], got 1.5
    """
    if not 0 <= real("average: decay", averaging.decay) <= 1:
        raise ValueError(f"average: decay must be in [0, 1], got {averaging.decay}")
    if averaging.patience is not None:
        check_positive(**{"average: patience": averaging.patience})


def weight(averaging: Averaging, n: int, since: int) -> float:
    """Return the weight of the parameters after the next step, 0 if averaging has not begun.

    >>> [weight(Averaging(decay=0.75), n, since=0) for n in (0, 1, 9)]
    [1.0, 0.5, 0.25]
    >>> [weight(Averaging(patience=2), n, since) for n, since in ((0, 1), (0, 2), (1, 0))]
    [0.0, 1.0, 0.5]

    Args:
        averaging: how.
        n: steps that have been averaged.
        since: epochs without a better validation.
    """
    if not n and averaging.patience is not None and since < averaging.patience:
        return 0.0
    return max(1 - averaging.decay, 1 / (n + 1))


@partial(jax.jit, donate_argnames="mean")
def average(mean, params, weight):
    """Return `mean + (params - mean) weight` in the memory of the old mean."""
    floating, others = partition(params)
    return combine(optax.incremental_update(floating, partition(mean)[0], weight), others)
