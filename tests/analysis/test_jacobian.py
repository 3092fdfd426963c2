import jax
import jax.numpy as jnp
import numpy as np
from brute import brute, make
from jax import lax

from lmjax import analysis


def test_step_jacobians_are_those_of_brute_force(name):
    case, expected = make(name), brute(name).states
    jacobians = analysis.step_jacobians(*case.run)
    for t in range(1, len(case.xs)):
        np.testing.assert_allclose(jacobians[t], expected[t, t - 1], atol=1e-12)


def test_step_jacobians_of_the_vanilla_cell_are_the_lectures():
    case = make("rnn")
    h = lax.scan(
        lambda h, x: (case.cell.step(case.params, h, x),) * 2,
        case.state,
        case.cell.encode(*case[1:4:2]),
    )[1]
    jacobians = analysis.step_jacobians(*case.run, chunk=2)
    np.testing.assert_allclose(jacobians, (1 - h**2)[:, :, None] * case.params.w_h.T, atol=1e-14)


def test_a_padded_step_is_the_identity_whatever_it_holds(some):
    case, mask = make(some), jnp.array([True, False, True, True, False])
    xs = jnp.where(mask[:, None], case.xs, jnp.nan)
    jacobians = np.asarray(analysis.step_jacobians(*case.run[:3], xs, mask=mask))
    np.testing.assert_array_equal(jacobians[1], np.eye(len(jacobians[0])))
    np.testing.assert_array_equal(jacobians[4], jacobians[1])
    valid = np.array([0, 2, 3])
    np.testing.assert_allclose(
        jacobians[valid], analysis.step_jacobians(*case.run[:3], case.xs[valid]), atol=1e-14
    )


def test_a_batch_is_a_vmap():
    case = make("lstm")
    xs = jnp.stack([case.xs, -case.xs], 1)
    state = case.cell.initial_state(case.params, (2,))
    over_batch = jax.vmap(analysis.step_jacobians, (None, None, 0, 1), 1)
    batched = over_batch(case.cell, case.params, state, xs)
    np.testing.assert_allclose(batched[:, 0], analysis.step_jacobians(*case.run), atol=1e-14)
