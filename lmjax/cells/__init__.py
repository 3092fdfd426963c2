"""Recurrent cells and their combinators."""

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.compose import bidirectional, stack
from lmjax.cells.gated import LSTMState, gated, gru, lstm, rnn
from lmjax.cells.linear import Diagonal, MinGRU, diagonal, mingru
from lmjax.cells.registry import CELLS

__all__ = [
    "CELLS",
    "Cell",
    "Diagonal",
    "LSTMState",
    "MinGRU",
    "bidirectional",
    "diagonal",
    "gated",
    "gru",
    "initial",
    "lstm",
    "mingru",
    "rnn",
    "stack",
]
