"""What a diagnosis is asked for must exist: steps, one sequence, a loss of one number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import make

from lmjax import analysis, cells

CELL, PARAMS, STATE, XS, LOSS, YS = make("rnn")
RUN, WITH_LOSS = (CELL, PARAMS, STATE, XS), (CELL, PARAMS, STATE, XS, LOSS, YS)
MAPS = (
    analysis.state_gradient_map,
    analysis.input_gradient_map,
    analysis.recurrent_contribution_map,
)


@pytest.mark.parametrize("wrong", [-1, 5, [0, 5], 1.5, [], [[0]]], ids=str)
def test_steps_that_do_not_exist_are_refused(wrong):
    for function in MAPS:
        with pytest.raises(ValueError, match=r"targets: must be steps in 0\.\.4"):
            function(*WITH_LOSS, targets=wrong)
    probes = lambda starts: analysis.jacobian_norm_probes(
        *RUN, key=jax.random.key(0), num_probes=2, starts=starts
    )
    jacobians = analysis.step_jacobians(*RUN)
    norms = lambda starts: analysis.jacobian_product_norms(jacobians, starts=starts)
    for function in (probes, norms):
        with pytest.raises(ValueError, match=r"starts: must be steps in 0\.\.4"):
            function(wrong)


def test_one_step_and_lists_of_them_are_taken():
    whole = analysis.state_gradient_map(*WITH_LOSS).log_norm
    for targets, rows in ((3, whole[3:4]), ([3, 1], whole[jnp.array([3, 1])])):
        found = analysis.state_gradient_map(*WITH_LOSS, targets=targets).log_norm
        np.testing.assert_allclose(found, rows, rtol=1e-12)
    traced = jax.jit(lambda k: analysis.state_gradient_map(*WITH_LOSS, targets=k).log_norm)
    np.testing.assert_allclose(traced(jnp.array([3])), whole[3:4], rtol=1e-12)
    biases = [analysis.truncation_bias(*WITH_LOSS, ks=ks).cosine for ks in ((2,), [2], 2)]
    np.testing.assert_array_equal(*biases[:2])
    np.testing.assert_array_equal(*biases[1:])
    for wrong in ([], [0], [1.5]):
        with pytest.raises(ValueError, match="truncation_bias: ks: must"):
            analysis.truncation_bias(*WITH_LOSS, ks=wrong)


def test_a_batch_is_refused_where_its_sequences_would_be_one_state():
    state, xs = CELL.initial_state(PARAMS, (2,)), jnp.stack([XS, XS], 1)
    ys = jnp.stack([YS, YS], 1)
    for call in (
        lambda: analysis.step_jacobians(CELL, PARAMS, state, xs),
        lambda: analysis.lyapunov_spectrum(CELL, PARAMS, state, xs, key=jax.random.key(0)),
        lambda: analysis.jacobian_norm_probes(
            CELL, PARAMS, state, xs, key=jax.random.key(0), num_probes=2
        ),
        lambda: analysis.recurrent_contribution_map(CELL, PARAMS, state, xs, LOSS, ys),
    ):
        with pytest.raises(ValueError, match=r"must be of one sequence, got a batch \[2\]"):
            call()


def test_a_loss_that_is_a_vector_is_refused():
    vector = lambda params, h, y: h
    for function in (*MAPS, analysis.state_gradients, analysis.bptt_contributions):
        with pytest.raises(ValueError, match=r"loss: must give one number a step, got shape \[4\]"):
            function(*RUN, vector, YS)


def test_an_encode_that_sees_more_than_its_step_is_refused_where_steps_are_told_apart():
    summed = CELL._replace(encode=lambda params, xs: CELL.encode(params, jnp.cumsum(xs, 0)))
    with pytest.raises(ValueError, match="encode must treat each step by itself"):
        analysis.bptt_contributions(summed, *WITH_LOSS[1:])


def test_a_horizon_is_that_of_the_norms_themselves_or_of_their_logarithms():
    norms = analysis.jacobian_product_norms(analysis.step_jacobians(*RUN))
    for a, b in zip(*map(analysis.memory_horizon, (norms, norms.log)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_language_model_is_one_cell_however_it_is_asked_for():
    from lmjax import models

    lm = models.recurrent(cells.gru(3, 3), vocab_size=5)
    assert models.as_cell(lm) is models.as_cell(lm)
