from functools import reduce

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from brute import CELLS, floats, make

from lmjax import analysis
from lmjax.cell import Cell


def all_pairs(case):
    """ds_i/ds_j for i, j = 1..T (the first step's start left out), from jacrev of injected perturbations."""
    states = lambda e: jnp.stack([floats(s) for s in case.states(e)])
    return jnp.swapaxes(jax.jit(jax.jacrev(states))(case.none), 1, 2)  # [i, j, S, S]


def test_step_jacobians_are_those_of_brute_force(case):
    jacobians = analysis.step_jacobians(*case.run)
    pairs = all_pairs(case)
    assert jacobians.shape == (len(case.xs), case.size, case.size)
    for t in range(1, len(case.xs)):
        np.testing.assert_allclose(jacobians[t], pairs[t, t - 1], atol=1e-12)
    np.testing.assert_allclose(analysis.step_jacobians(*case.run, chunk=4), jacobians, atol=1e-14)


def test_step_jacobians_of_the_vanilla_cell_are_the_lectures():
    case = make(CELLS["rnn"])
    h = jnp.stack(case.states())
    np.testing.assert_allclose(
        analysis.step_jacobians(*case.run), (1 - h**2)[:, :, None] * case.params.w_h.T, atol=1e-14
    )


def test_a_padded_step_is_the_identity_whatever_it_holds(case):
    mask = jnp.array([True, False, True, True, False, False])
    xs = jnp.where(mask[:, None], case.xs, jnp.nan)
    jacobians = analysis.step_jacobians(*case.run[:3], xs, mask=mask)
    np.testing.assert_array_equal(jacobians[~mask], jnp.broadcast_to(jnp.eye(case.size), (3, case.size, case.size)))
    np.testing.assert_allclose(
        jacobians[mask], analysis.step_jacobians(*case.run[:3], case.xs[np.asarray(mask)]), atol=1e-14
    )


def test_a_batch_is_a_vmap():
    case = make(CELLS["lstm"])
    xs = jnp.stack([case.xs, -case.xs], 1)
    state = case.cell.start(case.params, (2,))
    batched = jax.vmap(analysis.step_jacobians, (None, None, 0, 1), 1)(case.cell, case.params, state, xs)
    np.testing.assert_allclose(batched[:, 0], analysis.step_jacobians(*case.run), atol=1e-14)


@pytest.mark.parametrize("ord", ["fro", 2])
def test_product_norms_are_those_of_all_pairs(case, ord):
    log = analysis.jacobian_product_norms(analysis.step_jacobians(*case.run), ord=ord).log
    pairs, length = all_pairs(case), len(case.xs)
    for j in range(1, length):  # pairs count states from s_1, starts from s_0
        expected = [np.log(np.linalg.norm(pairs[i - 1, j - 1], ord)) for i in range(j, length + 1)]
        np.testing.assert_allclose(log[j, : length - j + 1], expected, atol=1e-10)
        assert np.isnan(log[j, length - j + 1 :]).all()


def test_product_norms_of_chosen_starts_and_lags():
    jacobians = jax.random.normal(jax.random.key(0), (12, 3, 3))
    every = analysis.jacobian_product_norms(jacobians)
    some = analysis.jacobian_product_norms(jacobians, starts=jnp.array([7, 2]), max_lag=4)
    np.testing.assert_allclose(some.log, every.log[jnp.array([7, 2]), :5], atol=1e-14)


@pytest.mark.parametrize("gain", [0.4, 1.7])
@pytest.mark.parametrize("ord", ["fro", 2])
def test_product_norms_in_float32_at_lag_10_000(gain, ord):
    """Against the exact product of the same float32 factors, in 60 digits."""
    factors = gain * jax.random.normal(jax.random.key(1), (10_000, 3, 3), jnp.float32)
    log = analysis.jacobian_product_norms(factors, ord=ord, starts=jnp.array([0])).log
    with np.errstate(over="ignore", invalid="ignore"):
        assert not 0 < abs(reduce(np.matmul, np.asarray(factors))).max() < np.inf
    with mpmath.workdps(60):
        product = [[mpmath.mpf(i == j) for j in range(3)] for i in range(3)]
        for factor in np.asarray(factors, float).tolist():
            product = [
                [mpmath.fdot(zip(row, column, strict=True)) for column in zip(*product, strict=True)] for row in factor
            ]
        matrix = mpmath.matrix(product)
        norm = mpmath.mnorm(matrix, "f") if ord == "fro" else mpmath.sqrt(max(mpmath.eigsy(matrix.T * matrix)[0]))
        exact = float(mpmath.log(norm))
    assert abs(exact) > 2000
    assert abs(float(log[0, -1]) - exact) < 1e-4


def test_an_orthogonal_linear_cell_keeps_its_norm_for_10_000_steps(key):
    cell = Cell(init=None, start=None, step=lambda w, h, x: h @ w + x)
    w = jax.random.orthogonal(key, 4, dtype=jnp.float32)
    jacobians = analysis.step_jacobians(cell, w, jnp.zeros(4, w.dtype), jnp.zeros((10_000, 4), w.dtype))
    log = analysis.jacobian_product_norms(jacobians, ord=2, starts=jnp.array([0])).log
    np.testing.assert_allclose(log[0], 0, atol=1e-3)


def test_a_non_normal_linear_cell_grows_before_it_decays():
    w = jnp.array([[0.9, 5.0], [0.0, 0.9]])
    log = analysis.jacobian_product_norms(jnp.broadcast_to(w, (400, 2, 2)), ord=2, starts=jnp.array([0])).log[0]
    expected = [np.log(np.linalg.norm(np.linalg.matrix_power(w, lag), 2)) for lag in range(401)]
    np.testing.assert_allclose(log, expected, atol=1e-10)
    assert log.max() > 2 and log[-1] < -30
    assert analysis.recurrent_spectrum(w).spectral_radius[0] < 1


def test_zeros_and_what_is_not_finite_stay_what_they_are():
    norm = lambda factors: analysis.jacobian_product_norms(factors[:, None, None], starts=jnp.array([0])).log[0]
    assert norm(jnp.array([2.0, 0.0, 3.0])).tolist() == [0, np.log(2), -np.inf, -np.inf]
    assert norm(jnp.array([jnp.inf, 2.0])).tolist()[1:] == [np.inf, np.inf]
    assert np.isnan(norm(jnp.array([jnp.nan, 2.0]))[1:]).all()
    np.testing.assert_allclose(norm(jnp.array([1e-300, 1e-300])), [0, np.log(1e-300), 2 * np.log(1e-300)])


def test_one_trace_serves_five_calls():
    case = make(CELLS["rnn"])

    @jax.jit
    @chex.assert_max_traces(n=1)
    def log_norms(params, xs):
        return analysis.jacobian_product_norms(analysis.step_jacobians(case.cell, params, case.state, xs)).log

    for k in range(5):
        log_norms(case.params, k * case.xs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"jacobians": jnp.ones((3, 2))}, r"\[T, S, S\], got \[3, 2\]"),
        ({"jacobians": jnp.ones((3, 2, 2)), "ord": 1}, "'fro' or 2, got 1"),
        ({"jacobians": jnp.ones((3, 2, 2)), "max_lag": 4}, r"0\.\.T = 3, got 4"),
    ],
)
def test_product_norms_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        analysis.jacobian_product_norms(**arguments)
