"""The gated recurrent unit, as the lecture writes it and as cuDNN does."""

import jax.numpy as jnp
from jax.nn import sigmoid

from lmjax.cell import Cell
from lmjax.cells import initial
from lmjax.cells.linear import check_sizes, init_linear, zero_state
from lmjax.factory import factory
from lmjax.precision import matmul

__all__ = ["gru"]


@factory
def gru(n_in: int, n: int, *, reset_after: bool = False, w_h=initial.orthogonal()) -> Cell:
    """Return the gated recurrent unit, as the lecture writes it: reset before the matrix.

        z, r = sigmoid(blocks of  h_{t-1} W_h + x_t W_x + b)
        h~_t = tanh((r h_{t-1}) W_h~ + x_t W_x~ + b~)
        h_t  = (1 - z) h_{t-1} + z h~_t

    The parameters hold the blocks [z r h~].

    Args:
        n_in: size of x_t.
        n: size of h_t.
        reset_after: take r (h_{t-1} W_h~ + b_h) in place of (r h_{t-1}) W_h~, as cuDNN and PyTorch
            do (there with z and 1 - z exchanged). `params.w_x` then holds [h~ z r], `params.b`
            [h~ z r b_h].
        w_h: initialiser of each block of W_h.

    Raises:
        ValueError: a size is not positive.

    >>> import jax
    >>> cell = gru(3, 4)
    >>> params = cell.init(jax.random.key(0))
    >>> cell.step(params, cell.initial_state(params), cell.encode(params, jnp.ones(3))).shape
    (4,)

    References: Cho et al. (2014).
    """
    check_sizes(n_in, n)

    def reset_before(params, h, x):
        z_x, r_x, a_x = jnp.split(x + params.b, 3, -1)
        z_h, r_h = jnp.split(matmul(h, params.w_h[:, : 2 * n]), 2, -1)
        z, r = sigmoid(z_x + z_h), sigmoid(r_x + r_h)
        return z, r, a_x + matmul(r * h, params.w_h[:, 2 * n :])

    def reset_afterwards(params, h, x):
        a_x, z_x, r_x = jnp.split(x + params.b[: 3 * n], 3, -1)
        z_h, r_h, a_h = jnp.split(matmul(h, params.w_h), 3, -1)
        z, r = sigmoid(z_x + z_h), sigmoid(r_x + r_h)
        return z, r, a_x + r * (a_h + params.b[3 * n :])

    blocks = reset_afterwards if reset_after else reset_before

    def step(params, h, x):
        z, _, a = blocks(params, h, x)
        return (1 - z) * h + z * jnp.tanh(a)

    def gates(params, h, x):
        z, r, _ = blocks(params, h, x)
        return {"z": z, "r": r, "f": 1 - z}  # 1 - z keeps the old state

    biases = [0.0] * (4 if reset_after else 3)
    return Cell(
        init=lambda key: init_linear(key, n_in, n, blocks=3, w_h=w_h, biases=biases),
        initial_state=lambda params, batch_shape=(): zero_state(params.w_h, n, batch_shape),
        step=step,
        encode=lambda params, xs: matmul(xs, params.w_x),
        gates=gates,
    )
