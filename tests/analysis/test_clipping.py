"""Clipping: the lecture's rule at every scale, and a true record of it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmjax.analysis import clip_by_global_norm
from lmjax.analysis.clipping import NORM_EDGES


def tree(scale, dtype=jnp.float32):
    return {
        "w": jnp.asarray([[3.0, 0.0], [1.0, 2.0]], dtype) * scale,
        "b": (jnp.asarray([1.0, 1.0], dtype) * scale,),
    }


def norm64(tree):
    return np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(tree)))


def apply(max_norm, *gradients):
    clip = clip_by_global_norm(max_norm)
    state = clip.init(gradients[0])
    for g in gradients:
        update, state = clip.update(g, state)
    return update, state


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 4.0, 100.0])
def test_ordinary_gradients_are_clipped_as_optax_does(max_norm):
    oracle = optax.clip_by_global_norm(max_norm)
    expected, _ = oracle.update(tree(1.0), oracle.init(tree(1.0)))
    update, state = apply(max_norm, tree(1.0))
    chex.assert_trees_all_close(update, expected, rtol=1e-6)
    np.testing.assert_allclose(state.norm, 4.0, rtol=1e-6)
    np.testing.assert_allclose(state.clipped_norm, min(4.0, max_norm), rtol=1e-6)
    assert state.clipped == (max_norm < 4)


@pytest.mark.parametrize("scale", [1e-30, 1e-23, 1e-10, 1e10, 1e20, 8e37])
def test_a_finite_gradient_of_any_size_comes_out_with_the_asked_norm(scale):
    g = tree(scale)
    update, state = apply(1e-32, g)
    np.testing.assert_allclose(norm64(update), 1e-32, rtol=1e-6)
    np.testing.assert_allclose(state.norm, norm64(g), rtol=1e-6)
    assert (state.clipped, state.nonfinite) == (1, 0)
    update, state = apply(1.0, g)
    np.testing.assert_allclose(norm64(update), min(1.0, norm64(g)), rtol=1e-6)


def test_a_norm_beyond_float32_is_still_clipped():
    update, state = apply(1.0, {"w": jnp.full(100, 3e38, jnp.float32)})
    np.testing.assert_allclose(update["w"], 0.1, rtol=1e-6)
    assert (
        state.norm == jnp.inf
        and state.clipped == 1
        and state.nonfinite == 0
        and state.clipped_norm == 1
    )


@pytest.mark.parametrize("bad", [jnp.inf, -jnp.inf, jnp.nan])
def test_a_nonfinite_gradient_becomes_zero_and_is_counted(bad):
    g = tree(1.0)
    g["w"] = g["w"].at[0, 1].set(bad)
    update, state = apply(1.0, g)
    chex.assert_trees_all_equal(update, jax.tree.map(jnp.zeros_like, g))
    assert (state.step, state.clipped, state.nonfinite, state.clipped_norm) == (1, 0, 1, 0)
    assert not jnp.isfinite(state.norm) and state.histogram.sum() == 0


def test_an_unclipped_gradient_passes_bit_for_bit_and_zero_stays_zero():
    for g in (tree(0.1), tree(0.0), tree(1e-44)):
        chex.assert_trees_all_equal(apply(1.0, g)[0], g)
    chex.assert_trees_all_equal(apply(jnp.inf, tree(1e30))[0], tree(1e30))
    assert apply(1.0, {})[1].step == 1


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64, jnp.complex64]
)
def test_dtypes_are_kept_and_norms_are_at_least_float32(dtype):
    g = tree(1000.0, dtype)
    update, state = apply(1.0, g)
    chex.assert_trees_all_equal_dtypes(update, g)
    assert state.norm.dtype == (jnp.float64 if dtype == jnp.float64 else jnp.float32)
    np.testing.assert_allclose(
        np.sqrt(sum((np.abs(np.asarray(u, complex)) ** 2).sum() for u in jax.tree.leaves(update))),
        1,
        5e-3,
    )


def test_statistics_over_a_scan_match_a_count_by_hand():
    scales = jnp.asarray([1e-9, 0.1, 0.2, 1.0, 50.0, 1e9, jnp.nan, jnp.inf], jnp.float32)
    clip = clip_by_global_norm(1.0)

    @jax.jit
    @chex.assert_max_traces(1)
    def run(scales):
        def body(state, scale):
            _, state = clip.update(tree(scale), state)
            return state, state.norm

        return jax.lax.scan(body, clip.init(tree(0.0)), scales)

    chex.clear_trace_counter()
    state, norms = run(scales)
    finite = np.asarray(scales)[:6] * 4.0
    np.testing.assert_allclose(norms[:6], finite, rtol=1e-6)
    assert (state.step, state.clipped, state.nonfinite) == (8, (finite > 1).sum(), 2)
    counts, _ = np.histogram(finite, np.concatenate([[0], NORM_EDGES, [np.inf]]))
    np.testing.assert_array_equal(state.histogram, counts)


def test_it_serves_in_a_chain_and_under_multisteps():
    params = {"w": jnp.ones(3, jnp.float32)}
    gradients = jnp.asarray([[3.0, 0, 0], [1.0, 0, 0], [0, 8.0, 0], [0, 0, 0]], jnp.float32)

    def train(clip, accumulate):
        opt = optax.MultiSteps(optax.chain(clip, optax.sgd(0.1, momentum=0.9)), accumulate)

        def body(carry, g):
            params, state = carry
            updates, state = opt.update({"w": g}, state, params)
            return (optax.apply_updates(params, updates), state), None

        (new, state), _ = jax.jit(lambda p: jax.lax.scan(body, (p, opt.init(p)), gradients))(params)
        return new, state.inner_opt_state[0]

    for accumulate, seen in ((1, 4), (2, 2)):
        ours, state = train(clip_by_global_norm(1.0), accumulate)
        theirs, _ = train(optax.clip_by_global_norm(1.0), accumulate)
        chex.assert_trees_all_close(ours, theirs, rtol=1e-6)
        assert state.step == seen
        assert state.clipped == 2


def test_max_norm_can_be_scheduled():
    clip = optax.inject_hyperparams(clip_by_global_norm)(max_norm=lambda step: 1.0 / (step + 1))
    state = clip.init(tree(1.0))
    for expected in (1.0, 0.5):
        update, state = jax.jit(clip.update)(tree(1.0), state)
        np.testing.assert_allclose(norm64(update), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [float, np.float32, np.array, jnp.float32, jnp.array])
@pytest.mark.parametrize("max_norm", [0, -1.0, float("nan"), -np.inf])
def test_a_max_norm_that_is_not_positive_is_refused(max_norm, kind):
    with pytest.raises(ValueError, match="max_norm must be positive"):
        clip_by_global_norm(kind(max_norm))


@pytest.mark.parametrize("max_norm", [np.ones(2), [1.0]])
def test_a_max_norm_is_one_number(max_norm):
    with pytest.raises(ValueError, match="max_norm must be positive"):
        clip_by_global_norm(max_norm)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0])
def test_a_traced_max_norm_never_turns_a_gradient_round(scale):
    g = tree(scale)
    update = jax.jit(jax.vmap(lambda max_norm: apply(max_norm, g)[0]))
    updates = update(jnp.array([-1.0, 0.0, jnp.nan, -jnp.inf, 2.0, jnp.inf]))
    for u in jax.tree.leaves(jax.tree.map(lambda u: u.reshape(6, -1), updates)):
        assert jnp.isnan(u[:4]).all()
    for k, max_norm in ((4, 2.0), (5, jnp.inf)):
        chex.assert_trees_all_close(
            jax.tree.map(lambda u, k=k: u[k], updates), apply(max_norm, g)[0]
        )
