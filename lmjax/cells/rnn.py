"""The vanilla recurrent network."""

import jax.numpy as jnp

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.linear import check_sizes, init_linear, zero_state
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["rnn"]


@factory
def rnn(n_in: int, n: int, *, activation=jnp.tanh, w_h=initial.orthogonal()) -> Cell:
    """Return the vanilla recurrent network.

        h_t = activation(h_{t-1} W_h + x_t W_x + b)

    Args:
        n_in: size of x_t.
        n: size of h_t.
        activation: `jnp.tanh`, `jax.nn.relu`, or `lambda z: z` for the linear cell of the lecture's
            proof.
        w_h: initialiser of W_h; `initial.identity()` with relu is the IRNN.

    Raises:
        ValueError: a size is not positive.

    >>> import jax
    >>> cell = rnn(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Elman (1990).
    """
    check_sizes(n_in, n)
    return Cell(
        init=lambda key: init_linear(key, n_in, n, blocks=1, w_h=w_h),
        initial_state=lambda params, batch_shape=(): zero_state(params.w_h, n, batch_shape),
        step=lambda params, h, x: activation(x + matmul(h, params.w_h) + params.b),
        encode=lambda params, xs: matmul(xs, params.w_x),
    )
