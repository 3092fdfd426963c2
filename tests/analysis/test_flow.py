import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import CELLS, make

from lmjax import analysis
from lmjax.cell import Cell, record


def norms(x):
    return np.log(np.linalg.norm(x, axis=-1))


def test_state_gradients_are_those_of_brute_force(case):
    flow = analysis.state_gradients(*case)
    pairs = jax.jit(jax.jacrev(case.losses))(case.none)  # [i, j, S]
    np.testing.assert_allclose(flow.losses, case.losses(case.none), atol=1e-12)
    np.testing.assert_allclose(flow.log_total, norms(pairs.sum(0)), atol=1e-10)
    np.testing.assert_allclose(flow.log_direct, norms(pairs[np.arange(len(pairs)), np.arange(len(pairs))]), atol=1e-10)


def test_state_gradients_are_those_of_record():
    case = make(CELLS["lstm"])
    (final, states), pullback = record(*case.run)
    direct = jax.vmap(jax.grad(case.loss, 1), (None, 0, 0))(case.params, states, case.ys)
    gradients = pullback(jax.tree.map(jnp.zeros_like, final), direct).states
    flow = analysis.state_gradients(*case)
    np.testing.assert_allclose(flow.log_total, norms(jnp.concatenate(gradients, -1)), atol=1e-10)


def test_sequences_of_a_batch_keep_their_own_norms_and_masks(case):
    mask = jnp.array([[1, 1, 1, 1, 1, 0], [1, 1, 0, 1, 0, 0]], bool).T
    xs, ys = jnp.stack([case.xs, -case.xs], 1), jnp.stack([case.ys, -case.ys], 1)
    state = case.cell.start(case.params, (2,))
    loss = jax.vmap(case.loss, (None, 0, 0))
    flow = analysis.state_gradients(
        case.cell, case.params, state, jnp.where(mask[..., None], xs, jnp.nan), loss,
        jnp.where(mask[..., None], ys, jnp.nan), mask=mask,
    )  # fmt: skip
    for b in range(2):
        kept = np.flatnonzero(mask[:, b])
        alone = analysis.state_gradients(*case.run[:3], xs[kept, b], case.loss, ys[kept, b])
        np.testing.assert_allclose(flow.log_total[kept, b], alone.log_total, atol=1e-10)
        np.testing.assert_allclose(flow.losses[:, b].sum(), alone.losses.sum(), atol=1e-10)
    assert (np.asarray(flow.log_direct)[~np.asarray(mask)] == -np.inf).all()
    with pytest.raises(ValueError, match="one number a sequence"):
        analysis.state_gradients(case.cell, case.params, state, xs, lambda *a: loss(*a).sum(), ys, mask=mask)


def test_a_gradient_below_every_float_has_its_log():
    cell = Cell(init=None, start=None, step=lambda a, h, x: a * h + x)
    last = lambda a, h, weight: jnp.sum(weight * h)
    length = 2000
    for dtype, a in ((jnp.float32, 0.5), (jnp.float32, 2.0), (jnp.float64, 0.5)):
        flow = analysis.state_gradients(
            cell, jnp.asarray(a, dtype), jnp.zeros(3, dtype), jnp.zeros((length, 3), dtype), last,
            jnp.zeros(length, dtype).at[-1].set(1e-30),
        )  # fmt: skip
        expected = np.log(a) * np.arange(length)[::-1] + np.log(1e-30) + np.log(3) / 2
        np.testing.assert_allclose(flow.log_total, expected, rtol=3e-7)
        assert (flow.log_direct[:-1] == -jnp.inf).all()


def test_one_step_and_nothing_to_learn(case):
    short = case._replace(xs=case.xs[:1], ys=case.ys[:1])
    flow = analysis.state_gradients(*short)
    np.testing.assert_array_equal(flow.log_total, flow.log_direct)
    nothing = analysis.state_gradients(*case.run, lambda p, s, y: jnp.zeros(()), case.ys)
    assert (nothing.log_total == -jnp.inf).all()
