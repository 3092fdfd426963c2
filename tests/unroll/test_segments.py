"""Every k-th state kept."""

import jax
import jax.numpy as jnp

from lmjax import cells
from lmjax.unroll import unroll


def test_segments_bound_the_memory(key):
    cell = cells.lstm(8, 32)
    params = jax.eval_shape(cell.init, key)
    state = jax.eval_shape(lambda p: cell.initial_state(p, (4,)), params)
    xs = jax.ShapeDtypeStruct((4096, 4, 8), jnp.float64)

    def temporary(segment):
        value = lambda p, s, x: unroll(cell, p, s, x, segment=segment)[0].h.sum()
        compiled = jax.jit(jax.grad(value)).lower(params, state, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(64) < temporary(None) / 8
