import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import make

from lmjax import analysis
from lmjax.cell import Cell
from lmjax.unroll import scan

LOGISTIC = Cell(init=None, initial_state=None, step=lambda r, s, x: r * s * (1 - s))
HENON = Cell(
    init=None,
    initial_state=None,
    step=lambda p, s, x: jnp.stack([1 - p[0] * s[0] ** 2 + s[1], p[1] * s[0]]),
)
LINEAR = Cell(init=None, initial_state=None, step=lambda w, h, x: h @ w + x)


def test_logistic_map_at_4(key):
    result = analysis.lyapunov_spectrum(
        LOGISTIC, 4.0, jnp.full(1, 0.3), jnp.zeros(50_000), key=key, burn_in=100
    )
    assert abs(result.exponents[0] - np.log(2)) < 4 * result.standard_error[0] + 1e-4
    assert result.standard_error[0] < 0.002
    assert result.kaplan_yorke == 1
    np.testing.assert_allclose(result.entropy_bound, result.exponents[0])


def test_henon_map(key):
    run = HENON, jnp.array([1.4, 0.3]), jnp.array([0.1, 0.1]), jnp.zeros(40_000)
    result = analysis.lyapunov_spectrum(*run, key=key, burn_in=100)
    error = abs(result.exponents - jnp.array([0.41922, -1.62319]))
    assert (error < 4 * result.standard_error + 1e-4).all() and (error < 0.01).all()
    # every step contracts areas by 0.3
    np.testing.assert_allclose(result.exponents.sum(), np.log(0.3), atol=1e-10)
    np.testing.assert_allclose(result.kaplan_yorke, 1 + result.exponents[0] / -result.exponents[1])
    first = analysis.lyapunov_spectrum(*run, key=key, burn_in=100, num_exponents=1)
    np.testing.assert_allclose(first.exponents[0], result.exponents[0], atol=1e-3)
    assert jnp.isnan(first.kaplan_yorke)


def test_a_linear_cell_has_the_logs_of_its_eigenvalues(key):
    w = jax.random.normal(key, (4, 4))
    xs = jnp.zeros((3000, 4))
    exponents = analysis.lyapunov_spectrum(
        LINEAR, w, jnp.zeros(4), xs, key=key, burn_in=500
    ).exponents
    np.testing.assert_allclose(
        exponents, np.sort(np.log(abs(np.linalg.eigvals(w))))[::-1], atol=2e-3
    )


def test_an_orthogonal_cell_neither_grows_nor_decays(key):
    w = jax.random.orthogonal(key, 4)
    result = analysis.lyapunov_spectrum(LINEAR, w, jnp.zeros(4), jnp.zeros((200, 4)), key=key)
    np.testing.assert_allclose(result.exponents, 0, atol=1e-14)


def test_the_sum_is_the_mean_log_determinant_and_padding_counts_for_nothing(some, key):
    case = make(some, length=12)
    jacobians = analysis.step_jacobians(*case.run)
    result = analysis.lyapunov_spectrum(*case.run, key=key)
    np.testing.assert_allclose(
        result.exponents.sum(), jnp.linalg.slogdet(jacobians)[1].mean(), atol=1e-10
    )
    mask = jnp.arange(12) < 7
    padded = analysis.lyapunov_spectrum(*case.run[:3], case.xs, key=key, mask=mask)
    alone = analysis.lyapunov_spectrum(*case.run[:3], case.xs[:7], key=key)
    np.testing.assert_allclose(padded.exponents, alone.exponents, atol=1e-12)


def test_it_is_differentiable_so_that_it_can_be_a_regulariser(key):
    case = make("rnn")

    def penalty(scale):
        params = case.params._replace(w_h=scale * case.params.w_h)
        return jnp.sum(
            analysis.lyapunov_spectrum(case.cell, params, *case.run[2:], key=key).exponents ** 2
        )

    chex.assert_numerical_grads(penalty, (jnp.float64(1.1),), order=1, atol=1e-4, rtol=1e-4)


def test_standard_errors_are_those_of_independent_steps():
    """J_t = exp(noise): the exponent is a mean of independent normals, whose error is known."""
    cell = Cell(init=None, initial_state=None, step=lambda p, s, x: s * jnp.exp(x))
    run = lambda key: analysis.lyapunov_spectrum(
        cell, 0.0, jnp.ones(1), 0.3 * jax.random.normal(key, (900,)) - 0.5, key=key
    )
    results = jax.vmap(run)(jax.random.split(jax.random.key(0), 200))
    np.testing.assert_allclose(jnp.median(results.standard_error), 0.3 / 30, rtol=0.1)
    np.testing.assert_allclose(jnp.std(results.exponents), 0.3 / 30, rtol=0.2)
    assert scan(cell, 0.0, jnp.ones(1), jnp.zeros(3))[0] == 1


@pytest.mark.parametrize("arguments", [{"num_exponents": 5}, {"num_exponents": 0}, {"burn_in": 5}])
def test_refuses(arguments, key):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        analysis.lyapunov_spectrum(*make("rnn").run, key=key, **arguments)


def test_covariant_vectors_of_a_linear_cell_are_its_eigenvectors(key):
    w = jnp.diag(jnp.array([1.5, 0.9, 0.3])) + jnp.triu(jax.random.normal(key, (3, 3)), 1)
    cell = LINEAR._replace(step=lambda w, h, x: w @ h)
    run = cell, w, jnp.zeros(3), jnp.zeros((300, 3))
    vectors, growth = analysis.covariant_lyapunov_vectors(*run, key=key)
    values, expected = np.linalg.eig(w)
    order = np.argsort(-abs(values))
    np.testing.assert_allclose(growth[150], np.log(abs(values[order])), atol=1e-10)
    np.testing.assert_allclose(abs(vectors[150]), abs(expected[:, order]), atol=1e-10)


def test_covariant_vectors_are_carried_into_each_other_at_the_rates_of_the_exponents(key):
    run = HENON, jnp.array([1.4, 0.3]), jnp.array([0.1, 0.1]), jnp.zeros(4000)
    vectors, growth = analysis.covariant_lyapunov_vectors(*run, key=key)
    jacobians = analysis.step_jacobians(*run)
    carried = jacobians[1:] @ vectors[:-1]
    np.testing.assert_allclose(carried, vectors[1:] * jnp.exp(growth[1:])[:, None], atol=1e-9)
    exponents = analysis.lyapunov_spectrum(*run, key=key).exponents
    np.testing.assert_allclose(growth[50:-50].mean(0), exponents, atol=0.02)
    first, _ = analysis.covariant_lyapunov_vectors(*run, key=key, num_vectors=1)
    np.testing.assert_allclose(abs(first[2000, :, 0]), abs(vectors[2000, :, 0]), atol=1e-9)


def test_one_step_has_no_standard_error(key):
    run = LOGISTIC, 4.0, jnp.full(1, 0.3), jnp.zeros(1)
    assert jnp.isnan(analysis.lyapunov_spectrum(*run, key=key).standard_error).all()


def test_states_vary_in_as_many_directions_as_their_covariance_says(key):
    states = jax.random.normal(key, (7, 50, 4)) * jnp.array([1, 0.5, 0.1, 1e-30]) + 3
    values = np.linalg.eigvalsh(np.cov(states.reshape(-1, 4).T))
    expected = values.sum() ** 2 / (values**2).sum()
    np.testing.assert_allclose(analysis.participation_ratio(states), expected, rtol=1e-10)
    assert jnp.isnan(analysis.participation_ratio(jnp.ones((5, 4))))
