"""Recurrent cells, one file a cell, and their combinators."""

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.bidirectional import Encoder, bidirectional, deep, unidirectional
from lmjax.cells.diagonal import Diagonal, diagonal
from lmjax.cells.gru import gru
from lmjax.cells.linear import Linear
from lmjax.cells.lstm import LSTMState, lstm
from lmjax.cells.lstm_layer_norm import LayerNormLSTM, lstm_layer_norm
from lmjax.cells.lstm_projected import ProjectedLSTM, lstm_projected
from lmjax.cells.minimal import MinGRU, mingru
from lmjax.cells.registry import CELLS
from lmjax.cells.rnn import rnn
from lmjax.cells.stack import stack
from lmjax.cells.window import Window, window

__all__ = [
    "CELLS",
    "Cell",
    "Diagonal",
    "Encoder",
    "LSTMState",
    "LayerNormLSTM",
    "Linear",
    "MinGRU",
    "ProjectedLSTM",
    "Window",
    "bidirectional",
    "deep",
    "diagonal",
    "gru",
    "initial",
    "lstm",
    "lstm_layer_norm",
    "lstm_projected",
    "mingru",
    "rnn",
    "stack",
    "unidirectional",
    "window",
]
