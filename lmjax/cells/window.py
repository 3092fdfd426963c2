"""The fixed window: the last words, each position with weights of its own. Not recurrent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmjax.cell import Cell, shift_register
from lmjax.cells.linear import check_sizes, uniform, zero_state
from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["Window", "window"]


class Window(NamedTuple):
    """Parameters of a fixed window."""

    w: jax.Array  # [words, n_in, n]  a block for each position, the latest word's last
    b: jax.Array  # [n]


@factory
def window(n_in: int, n: int, *, words: int = 4, direct: bool = False) -> Cell:
    """Return the fixed window of the last k words as a cell: a shift register that is read.

        e = [x_{t-k+1}; ...; x_t],    h_t = tanh(e W + b)

    With a softmax on h_t it is the neural language model of a fixed window. Nothing is carried
    through a matrix: what is more than k words back has no effect, and no loop runs over time.
    Before the beginning stand zeros.

    Args:
        n_in: size of x_t.
        n: size of h_t.
        words: k.
        direct: read [h_t; e] in place of h_t, so that a linear head has direct connections from
            the word vectors to the words.

    Raises:
        ValueError: a size is not positive.

    >>> cell = window(3, 4, words=2)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.read(params, cell.step(params, cell.initial_state(params), jnp.ones(3))).shape
    (4,)

    References: Bengio, Ducharme, Vincent and Jauvin (2003).
    """
    check_sizes(n_in, n)
    check_positive(words=words)

    def init(key):
        return Window(uniform(key, words * n_in, n).reshape(words, n_in, n), jnp.zeros(n))

    def read(params, state):
        e = jnp.concatenate(state, -1)
        h = jnp.tanh(matmul(e, params.w.reshape(-1, n)) + params.b)
        return jnp.concatenate([h, e], -1) if direct else h

    return Cell(
        init=init,
        initial_state=lambda params, batch_shape=(): (
            (zero_state(params.w, n_in, batch_shape),) * words
        ),
        step=shift_register,
        read=read,
    )
