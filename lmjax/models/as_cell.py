"""A language model as one cell over all its parameters, for the functions of `analysis`."""

from __future__ import annotations

from collections.abc import Callable

from lmjax.cell import Cell
from lmjax.factory import factory
from lmjax.models.language_model import LanguageModel, lookup, lookup_with_tokens, rows_at

__all__ = ["as_cell"]

# What training looks words up with has a backward pass of its own, and no forward mode.
ANY_MODE: dict[Callable, Callable] = {
    lookup: rows_at,
    lookup_with_tokens: lambda embed, tokens: (rows_at(embed, tokens), tokens),
}


@factory
def as_cell(lm: LanguageModel) -> tuple[Cell, Callable]:
    """Return a language model as `(cell, loss)`, which every function of `analysis` takes.

        s_t = step(s_{t-1}, E x_t),    l_t = -log P(x_{t+1} | s_t)

    The cell reads tokens, with the parameters of embedding, cell and head together: what is said of
    a gradient is said of each of them. States, gates and the names of parameters (`cell.w_h`) are
    those of the model's cell. Dropout and penalties are left out.

    Returns:
        `(cell, loss)`, the loss a function `params, s_t, token -> -log P(token | s_t)`, exact.

    >>> import jax, jax.numpy as jnp
    >>> from lmjax import analysis, cells, models
    >>> lm = models.recurrent(cells.rnn(4, 4), vocab_size=10)
    >>> (cell, loss), params, tokens = as_cell(lm), lm.init(jax.random.key(0)), jnp.arange(9)
    >>> run = cell, params, cell.initial_state(params), tokens[:-1], loss, tokens[1:]
    >>> analysis.bptt_contributions(*run).gradient.embed.shape
    (10, 4)
    """
    cell, head = lm.cell, lm.head
    embed = ANY_MODE.get(lm.embed, lm.embed)

    def loss(params, state, token):
        return -head.log_prob(params, cell.read(params.cell, state), token)

    def encode(params, tokens):
        return cell.encode(params.cell, embed(params.embed, tokens))

    def of_cell(f: Callable) -> Callable:
        return lambda params, *args: f(params.cell, *args)

    whole = Cell(
        init=lm.init,
        initial_state=of_cell(cell.initial_state),
        step=of_cell(cell.step),
        encode=encode,
        read=of_cell(cell.read),
        gates=cell.gates and of_cell(cell.gates),
    )
    return whole, loss
