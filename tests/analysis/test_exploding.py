"""The cliff stands where the saddle-node is, and clipping bounds every step taken there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmjax.analysis import clip_by_global_norm, descend, error_surface, toy_error


def test_the_toy_is_the_lectures_recurrence():
    h = -1.0
    for _ in range(3):
        h = np.tanh(2 * 0.25 + 3 * h + 1)
    np.testing.assert_allclose(
        toy_error(jnp.array([3.0, 1.0]), steps=3, x=0.25, y=0.5), (h - 0.5) ** 2, rtol=1e-12
    )


@pytest.mark.parametrize("w", [1.5, 3.0, 4.5])
def test_the_cliff_stands_where_the_lower_fixed_point_ends(w):
    s = np.sqrt(1 - 1 / w)
    edge = w * s - np.arctanh(s)
    below, above = error_surface(
        lambda theta: toy_error(theta, steps=400), jnp.array([w]), edge + jnp.array([-1e-3, 1e-3])
    )
    assert below < 0.1 and above > 2


def steepest():
    """The point with the largest gradient on a fine line across the cliff, from w = 3."""
    line = jnp.stack([jnp.full(41, 3.0), jnp.linspace(1.30, 1.31, 41)], axis=1)
    norms = jnp.linalg.norm(jax.vmap(jax.grad(toy_error))(line), axis=1)
    return line[norms.argmax()], norms.max()


def test_the_gradient_explodes_at_the_cliff_and_not_before():
    before = jnp.linalg.norm(jax.grad(toy_error)(jnp.array([3.0, 1.0])))
    assert steepest()[1] > 1e3 * before


def test_the_surface_is_the_error_at_every_point_of_the_grid():
    ws, bs = jnp.linspace(0, 4, 3), jnp.linspace(-1, 2, 4)
    surface = error_surface(toy_error, ws, bs)
    assert surface.shape == (4, 3)
    for i, b in enumerate(bs):
        for j, w in enumerate(ws):
            np.testing.assert_allclose(surface[i, j], toy_error(jnp.stack([w, b])), rtol=1e-12)


def test_descent_is_what_the_optimiser_does_by_hand():
    transform = optax.chain(clip_by_global_norm(0.1), optax.sgd(0.3, momentum=0.5))
    theta = jnp.array([3.0, 1.0])
    path = descend(toy_error, theta, transform, steps=3)
    state = transform.init(theta)
    for k in range(4):
        np.testing.assert_allclose(path.theta[k], theta, rtol=1e-12)
        np.testing.assert_allclose(path.error[k], toy_error(theta), rtol=1e-12)
        np.testing.assert_allclose(path.gradient[k], jax.grad(toy_error)(theta), rtol=1e-10)
        update, state = transform.update(path.gradient[k], state)
        theta = theta + update


def test_clipping_bounds_every_step_where_plain_descent_leaps():
    (start, norm), rate, max_norm = steepest(), 0.3, 0.1
    plain = descend(toy_error, start, optax.sgd(rate), steps=1)
    np.testing.assert_allclose(jnp.linalg.norm(plain.theta[1] - start), rate * norm, rtol=1e-9)
    clipped = descend(
        toy_error, start, optax.chain(clip_by_global_norm(max_norm), optax.sgd(rate)), steps=100
    )
    leaps = np.linalg.norm(np.diff(clipped.theta, axis=0), axis=1)
    np.testing.assert_allclose(leaps[0], rate * max_norm, rtol=1e-9)
    assert leaps.max() <= rate * max_norm * (1 + 1e-9)
