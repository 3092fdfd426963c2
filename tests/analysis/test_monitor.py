"""A monitor takes what it should when it should, and nothing in between."""

import chex
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from lmjax.analysis import monitor

DIAGNOSTICS = {
    "norm": lambda w, x: jnp.linalg.norm(w),
    "both": lambda w, x: {"x": x, "sum": (w + x, x.sum())},
}


@pytest.mark.parametrize("every", [1, 3, 10])
def test_the_values_are_those_of_the_last_kth_step(every):
    watch = monitor(DIAGNOSTICS, every=every)
    xs = jnp.arange(14.0).reshape(7, 2)

    @jax.jit
    @chex.assert_max_traces(1)
    def train(w, xs):
        def body(carry, x):
            w, state = carry
            state = watch.update(state, w, x)
            return (w + x, state), state

        return lax.scan(body, (w, watch.init(w, xs[0])), xs)

    chex.clear_trace_counter()
    w0 = jnp.ones(2)
    _, states = train(w0, xs)
    for k in range(7):
        taken = k - k % every
        state = jax.tree.map(lambda s, k=k: s[k], states)
        assert (state.calls, state.taken) == (k + 1, taken)
        w = w0 + xs[:taken].sum(0)
        chex.assert_trees_all_close(
            state.values, {name: f(w, xs[taken]) for name, f in DIAGNOSTICS.items()}
        )


def test_init_needs_shapes_alone_and_fixes_shapes_and_dtypes():
    watch = monitor(DIAGNOSTICS, every=5)
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    state = watch.init(shape, shape)
    assert state.taken == -1
    chex.assert_trees_all_equal_shapes_and_dtypes(
        state, watch.update(state, jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float32))
    )


def test_the_diagnostics_run_only_when_they_are_due():
    calls = []
    count = lambda x: jax.pure_callback(lambda x: (calls.append(1), x)[1], x, x)
    watch, x = monitor({"count": count}, every=4), jnp.zeros(())
    ten = jax.jit(lambda state: lax.fori_loop(0, 10, lambda _, s: watch.update(s, x), state))
    jax.block_until_ready(ten(watch.init(x)))
    assert len(calls) == 3


@pytest.mark.parametrize(("diagnostics", "every"), [(DIAGNOSTICS, 0), ({}, 3)])
def test_nothing_to_do_is_refused(diagnostics, every):
    with pytest.raises(ValueError, match="monitor: every must be at least 1"):
        monitor(diagnostics, every=every)
