"""Exploding gradients: the error surface of the lecture's toy recurrence, and the cliff in it."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lmjax.cell import Cell
from lmjax.unroll import unroll

__all__ = ["Descent", "descend", "error_surface", "toy_error"]

TOY = Cell(
    init=lambda key: jnp.array([3.0, 1.0]),  # the lecture's w_hh and b
    initial_state=lambda theta, batch_shape=(): jnp.full(batch_shape, -1.0, theta.dtype),
    step=lambda theta, h, x: jnp.tanh(theta[0] * h + 2 * x + theta[1]),
)


def toy_error(theta, *, steps: int = 50, x: float = 0.0, y: float = -0.7) -> jax.Array:
    """Return the squared error of the lecture's toy after `steps` steps.

        h_t = tanh(w h_{t-1} + 2 x_t + b),    h_0 = -1,    E(w, b) = (h_T - y)^2

    For w > 1 the recurrence has two stable fixed points as long as |2 x + b| is small. Where the
    lower one, to which h_0 = -1 leads, ceases to exist, h_T jumps to the upper one: the cliff of E,
    at 2 x + b = w s - artanh(s) with s = sqrt(1 - 1 / w); for the lecture's w = 3 that is b =
    1.303.

    Args:
        theta: (w, b) `[2]`; the lecture's values are (3, 1).
        steps: T.
        x: the input at every step.
        y: target of h_T.

    >>> [round(float(toy_error(jnp.array([3.0, b]))), 2) for b in (1.0, 1.3, 1.4)]
    [0.06, 0.02, 2.89]

    References: Doya (1993); Pascanu, Mikolov and Bengio (2013), figure 6.
    """
    h_T, _ = unroll(TOY, theta, TOY.initial_state(theta), jnp.full(steps, x, theta.dtype))
    return (h_T - y) ** 2


@partial(jax.jit, static_argnames="error")
def error_surface(error: Callable, ws, bs) -> jax.Array:
    """Return an error of two parameters on a grid.

    Args:
        error: theta `[2]` -> scalar. Static under jit.
        ws: values of the first parameter `[W]`.
        bs: values of the second `[B]`.

    Returns:
        `[B, W]`, a row for each b, as pictures are drawn.

    >>> error_surface(lambda theta: theta[0] - theta[1], jnp.arange(3.0), jnp.arange(2.0)).tolist()
    [[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0]]
    """
    return jax.vmap(lambda b: jax.vmap(lambda w: error(jnp.stack([w, b])))(ws))(bs)


class Descent(NamedTuple):
    """The way of an optimiser over an error surface."""

    theta: jax.Array  # [K + 1, 2]  where it stood
    error: jax.Array  # [K + 1]  the error there
    gradient: jax.Array  # [K + 1, 2]  the gradient there, before anything is done to it


@partial(jax.jit, static_argnames=("error", "transform", "steps"))
def descend(
    error: Callable, theta, transform: optax.GradientTransformation, *, steps: int
) -> Descent:
    """Follow an optimiser for a number of steps: theta <- theta + transform(dE/dtheta).

    Args:
        error: theta `[2]` -> scalar. Static under jit.
        theta: where to start `[2]`.
        transform: an optax optimiser, e.g. `optax.chain(clip_by_global_norm(1.0), optax.sgd(0.1))`.
        steps: K.

    >>> bowl = lambda theta: (theta**2).sum() / 2
    >>> path = descend(bowl, jnp.array([4.0, 2.0]), optax.sgd(0.5), steps=2)
    >>> path.theta.tolist()
    [[4.0, 2.0], [2.0, 1.0], [1.0, 0.5]]
    """

    def body(carry, _):
        theta, state = carry
        value, gradient = jax.value_and_grad(error)(theta)
        update, state = transform.update(gradient, state, theta)
        return (optax.apply_updates(theta, update), state), Descent(theta, value, gradient)

    return lax.scan(body, (theta, transform.init(theta)), length=steps + 1)[1]
