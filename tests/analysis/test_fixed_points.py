"""Fixed and slow points: closed forms, and the definition for every cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import flat, make, shifted

from lmjax import analysis
from lmjax.cell import Cell

SCALAR = {"init": None, "initial_state": None}


def test_of_a_linear_cell_it_is_the_solution_of_the_linear_system(key):
    w = 0.4 * jax.random.normal(key, (6, 6))
    cell = Cell(**SCALAR, step=lambda w, h, x: h @ w + x)
    xs, starts = jax.random.normal(key, (3, 6)), jax.random.normal(key, (5, 6))
    points = analysis.fixed_points(cell, w, xs, starts)
    np.testing.assert_array_equal(points.inputs, [0, 1, 2])
    np.testing.assert_allclose(points.states, xs @ jnp.linalg.inv(jnp.eye(6) - w), atol=1e-10)
    np.testing.assert_array_equal(points.starts, [5, 5, 5])
    radius = max(abs(np.linalg.eigvals(w)))
    np.testing.assert_allclose(abs(points.eigenvalues[:, 0]), radius, rtol=1e-9)
    np.testing.assert_allclose(points.time_constants[:, 0], 1 / abs(np.log(radius)), rtol=1e-6)
    np.testing.assert_array_equal(points.stable, radius < 1)


def test_of_every_cell_the_state_stays_and_the_jacobian_is_that_of_its_step(name):
    cell, params, state, xs, *_ = make(name)
    shifts = jax.random.normal(jax.random.key(1), (8, flat(state).size))
    starts = jax.vmap(lambda shift: shifted(state, shift))(shifts)
    points = analysis.fixed_points(cell, params, xs[:2], starts, max_speed=1e-10)
    assert len(points.speeds) or name == "user"  # of which no start found one
    for m, r in enumerate(points.inputs):
        at = jax.tree.map(lambda x, m=m: x[m], points.states)
        held = xs[r][None]
        after = cell.step(params, at, jax.tree.map(lambda v: v[0], cell.encode(params, held)))
        np.testing.assert_allclose(flat(after), flat(at), atol=1e-10)
        jacobian = analysis.step_jacobians(cell, params, at, held)[0]
        np.testing.assert_allclose(points.jacobians[m], jacobian, atol=1e-12)


@pytest.mark.parametrize("max_speed, count", [(0.02, 1), (0.001, 0)])
def test_slow_points_without_a_fixed_one(max_speed, count):
    """s' = s + 0.01 + s^2 is slowest at 0, and stays nowhere."""
    cell = Cell(**SCALAR, step=lambda a, s, x: s + a + s**2)
    starts = jnp.array([[-0.3], [0.2]])
    how = {"max_speed": max_speed, "apart": 0.02}  # there is no sharp minimum where nothing stays
    points = analysis.fixed_points(cell, 0.01, jnp.zeros((1, 1)), starts, **how)
    np.testing.assert_allclose(points.states, np.zeros((count, 1)), atol=0.01)
    np.testing.assert_allclose(points.speeds, [0.01] * count, rtol=0.01)
    assert points.jacobians.shape == (count, 1, 1)
    assert points.stable.shape == (count,)


def test_a_cell_that_settles_first_ends_at_its_stable_points_alone():
    cell = Cell(**SCALAR, step=lambda w, h, x: jnp.tanh(w * h + x))
    starts = jnp.array([[-0.1], [0.0], [0.1]])
    found = analysis.fixed_points(cell, 2.0, jnp.zeros((1, 1)), starts[::2], settle=100)
    assert found.stable.tolist() == [True, True]
    every = analysis.fixed_points(cell, 2.0, jnp.zeros((1, 1)), starts)
    assert 0 in every.states and not every.stable[every.states[:, 0] == 0]


def test_numbers_that_are_not_positive_are_refused():
    cell = Cell(**SCALAR, step=lambda a, s, x: s)
    for wrong in ({"steps": 0}, {"settle": -1}, {"max_speed": 0.0}, {"apart": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            analysis.fixed_points(cell, 0.0, jnp.zeros((1, 1)), jnp.zeros((1, 1)), **wrong)
