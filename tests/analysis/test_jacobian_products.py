from functools import reduce

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from brute import brute, make

from lmjax import analysis, cells
from lmjax.cell import Cell

FIRST = jnp.array([0])


@pytest.mark.parametrize("ord", ["fro", 2])
def test_product_norms_are_those_of_all_pairs(some, ord):
    case, pairs = make(some), brute(some).states
    log = analysis.jacobian_product_norms(analysis.step_jacobians(*case.run), ord=ord).log
    length = len(case.xs)
    for j in range(1, length):  # pairs count states from s_1, starts from s_0
        expected = [np.log(np.linalg.norm(pairs[i - 1, j - 1], ord)) for i in range(j, length + 1)]
        np.testing.assert_allclose(log[j, : length - j + 1], expected, atol=1e-10)
        assert np.isnan(log[j, length - j + 1 :]).all()


def test_product_norms_of_chosen_starts_and_lags(key):
    jacobians = jax.random.normal(key, (12, 3, 3))
    every = analysis.jacobian_product_norms(jacobians)
    some = analysis.jacobian_product_norms(jacobians, starts=jnp.array([7, 2]), max_lag=4)
    np.testing.assert_allclose(some.log, every.log[jnp.array([7, 2]), :5], atol=1e-14)


def exact_log_norms(factors):
    """Of the product of float32 factors, in 60 digits: Frobenius and spectral."""
    with mpmath.workdps(60):
        product = mpmath.eye(len(factors[0]))
        for factor in np.asarray(factors, float):
            product = mpmath.matrix(factor) * product
        spectral = mpmath.sqrt(max(mpmath.eigsy(product.T * product)[0]))
        return float(mpmath.log(mpmath.mnorm(product, "f"))), float(mpmath.log(spectral))


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_product_norms_in_float32_at_lag_10_000(gain):
    """Of a vanilla cell's Jacobians, as they are (vanishing) and four times that (exploding)."""
    cell = cells.rnn(4, 4)
    xs = 0.5 * jax.random.normal(jax.random.key(0), (10_000, 4))
    params = cell.init(jax.random.key(1))
    factors = gain * analysis.step_jacobians(cell, params, cell.initial_state(params), xs).astype(
        "float32"
    )
    with np.errstate(all="ignore"):
        assert not 0 < abs(reduce(np.matmul, np.asarray(factors))).max() < np.inf
    for ord, exact in zip(("fro", 2), exact_log_norms(factors), strict=True):
        log = analysis.jacobian_product_norms(factors, ord=ord, starts=FIRST).log
        assert abs(exact) > 2000
        assert abs(float(log[0, -1]) - exact) < 1e-4


def test_an_orthogonal_linear_cell_keeps_its_norm_for_10_000_steps(key):
    cell = Cell(init=None, initial_state=None, step=lambda w, h, x: h @ w + x)
    w = jax.random.orthogonal(key, 4, dtype=jnp.float32)
    jacobians = analysis.step_jacobians(
        cell, w, jnp.zeros(4, w.dtype), jnp.zeros((10_000, 4), w.dtype)
    )
    np.testing.assert_allclose(
        analysis.jacobian_product_norms(jacobians, ord=2, starts=FIRST).log[0], 0, atol=1e-3
    )


def test_a_non_normal_linear_cell_grows_before_it_decays():
    w = jnp.array([[0.9, 5.0], [0.0, 0.9]])
    log = analysis.jacobian_product_norms(
        jnp.broadcast_to(w, (400, 2, 2)), ord=2, starts=FIRST
    ).log[0]
    expected = [np.log(np.linalg.norm(np.linalg.matrix_power(w, lag), 2)) for lag in range(401)]
    np.testing.assert_allclose(log, expected, atol=1e-10)
    assert log.max() > 2 and log[-1] < -30
    assert analysis.recurrent_spectrum(w).spectral_radius[0] < 1


def test_an_lstm_that_only_remembers_keeps_its_cell():
    """The lecture: f = 1 and i = 0 preserve the cell indefinitely."""
    case = make("lstm")
    gates = jnp.repeat(jnp.array([-1e3, 1e3, 0.0, 0.0]), 3)  # i, f, g, o
    params = case.params._replace(b=case.params.b + gates)
    jacobians = analysis.step_jacobians(case.cell, params, case.state, jnp.zeros((50, 3)))
    # (h, c)
    np.testing.assert_array_equal(jacobians[:, 3:, 3:], jnp.broadcast_to(jnp.eye(3), (50, 3, 3)))
    np.testing.assert_array_equal(jacobians[:, 3:, :3], 0)


def test_zeros_and_what_is_not_finite_stay_what_they_are():
    norm = lambda factors: analysis.jacobian_product_norms(
        factors[:, None, None], starts=FIRST
    ).log[0]
    assert norm(jnp.array([2.0, 0.0, 3.0])).tolist() == [0, np.log(2), -np.inf, -np.inf]
    assert norm(jnp.array([1.0, jnp.inf, 2.0])).tolist()[2:] == [np.inf, np.inf]
    assert np.isnan(norm(jnp.array([1.0, jnp.nan, 2.0]))[2:]).all()
    tiny = np.log(1e-300) * np.arange(4)
    np.testing.assert_allclose(norm(jnp.full(3, 1e-300)), tiny)


def test_probes_estimate_the_norms_with_honest_errors(some):
    case = make(some)
    exact = analysis.jacobian_product_norms(analysis.step_jacobians(*case.run)).log
    few, many = (
        analysis.jacobian_norm_probes(*case.run, key=jax.random.key(n), num_probes=n)
        for n in (16, 4096)
    )
    np.testing.assert_array_equal(jnp.isnan(many.log_norm), jnp.isnan(exact))
    inside = ~np.isnan(exact)
    np.testing.assert_allclose(many.log_norm[inside], exact[inside], atol=0.1)
    for probes in (few, many):
        error = (
            abs(probes.log_norm - exact)[:, 1:][inside[:, 1:]]
            / probes.standard_error[:, 1:][inside[:, 1:]]
        )
        assert 0.3 < np.sqrt((error**2).mean()) < 2.5
    ratio = few.standard_error[0, 1:] / many.standard_error[0, 1:]
    assert (ratio > 6).all() and (ratio < 40).all()  # 16 for 256 times as many


def exact_singular_values(factors, digits):
    with mpmath.workdps(digits):
        product = mpmath.eye(len(factors[0]))
        for factor in np.asarray(factors):
            product = mpmath.matrix(factor) * product
        return [float(mpmath.log(s)) for s in mpmath.svd_r(product, compute_uv=False)]


@pytest.mark.parametrize("length", [1, 4, 40, 300])
def test_all_singular_values_of_a_product(key, length):
    factors = jax.random.normal(key, (length, 3, 3)) * jnp.array([1.0, 0.5, 0.2])
    result = analysis.product_log_singular_values(factors, tol=1e-10)
    np.testing.assert_allclose(
        result.values.log, exact_singular_values(factors, 60 + 3 * length), atol=1e-8
    )
    assert result.change <= 1e-10


def test_singular_values_of_singular_and_of_scaled_orthogonal_factors(key):
    singular = analysis.product_log_singular_values(
        jnp.broadcast_to(jnp.diag(jnp.array([3.0, 0.0])), (200, 2, 2))
    )
    np.testing.assert_allclose(singular.values.log, [200 * np.log(3), -np.inf])
    orthogonal = jnp.broadcast_to(0.1 * jax.random.orthogonal(key, 3), (500, 3, 3))
    result = analysis.product_log_singular_values(orthogonal)
    np.testing.assert_allclose(result.values.log, 500 * np.log(0.1), atol=1e-9)


def test_one_trace_serves_five_calls():
    case = make("rnn")

    @jax.jit
    @chex.assert_max_traces(n=1)
    def logs(params, xs):
        jacobians = analysis.step_jacobians(case.cell, params, case.state, xs)
        singular = analysis.product_log_singular_values(jacobians)
        return analysis.jacobian_product_norms(jacobians), singular

    for k in range(5):
        logs(case.params, k * case.xs)


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


def test_one_probe_has_no_error():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        analysis.jacobian_norm_probes(*make("rnn").run, key=jax.random.key(0), num_probes=1)
