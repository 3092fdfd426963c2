"""Recurrent cells and their combinators."""

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.compose import bidirectional, stack
from lmjax.cells.gated import LSTMState, gated, gru, lstm, rnn

__all__ = ["Cell", "LSTMState", "bidirectional", "gated", "gru", "initial", "lstm", "rnn", "stack"]
