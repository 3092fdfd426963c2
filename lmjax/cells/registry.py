"""Every cell by name: `n_in, n -> Cell`. A new cell is one file and one line here."""

from collections.abc import Callable
from functools import partial

import jax

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.diagonal import diagonal
from lmjax.cells.gru import gru
from lmjax.cells.lstm import lstm
from lmjax.cells.lstm_layer_norm import lstm_layer_norm
from lmjax.cells.lstm_projected import lstm_projected
from lmjax.cells.minimal import mingru
from lmjax.cells.rnn import rnn
from lmjax.cells.window import window

__all__ = ["CELLS"]

CELLS: dict[str, Callable[[int, int], Cell]] = {
    "rnn": rnn,
    "irnn": lambda n_in, n: rnn(n_in, n, activation=jax.nn.relu, w_h=initial.identity()),
    "lstm": lstm,
    "lstm_projected": lstm_projected,
    "lstm_layer_norm": lstm_layer_norm,
    "gru": gru,
    "gru_reset_after": partial(gru, reset_after=True),
    "mingru": mingru,
    "diagonal": diagonal,
    "window": window,
}
