"""One backend's schedule: results do not depend on it, and the library is right without it."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest

from lmjax import cells
from lmjax.cells import CELLS
from lmjax.unroll import SCHEDULES, cpu, scan, unroll
from lmjax.unroll.backward import PLAIN

T, B, N = 6, 3, 4
PARTS = {  # the whole schedule, none, and each of its parts by itself
    "all": cpu.CPU,
    "none": PLAIN,
    **{name: PLAIN._replace(**{name: getattr(cpu.CPU, name)}) for name in PLAIN._fields},
}


def gradient(run, cell, key, mask=None):
    k = jax.random.split(key, 3)
    params, xs = cell.init(k[0]), jax.random.normal(k[1], (T, B, N))
    state = cell.initial_state(params, (B,))

    def loss(params, state, xs):
        _, states = run(cell, params, state, xs, mask=mask)
        return sum(jnp.sin(s).sum() for s in jax.tree.leaves(states))

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(params, state, xs)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", [name for name in CELLS if name not in ("mingru", "diagonal")])
def test_results_do_not_depend_on_the_schedule(name, part, key, monkeypatch):
    monkeypatch.setitem(SCHEDULES, "cpu", PARTS[part])
    cell, mask = CELLS[name](N, N), jnp.arange(T)[:, None] < jnp.array([T, 3, 0])
    ours = gradient(unroll.__wrapped__, cell, key, mask)
    chex.assert_trees_all_close(ours, gradient(scan, cell, key, mask), rtol=1e-12, atol=1e-12)


def test_the_library_is_right_without_the_file(key, monkeypatch):
    monkeypatch.setattr("lmjax.unroll.SCHEDULES", {})
    cell = cells.stack(cells.lstm(N, N), cells.gru(N, N))
    ours = gradient(unroll.__wrapped__, cell, key)
    chex.assert_trees_all_close(ours, gradient(scan, cell, key), rtol=1e-12, atol=1e-12)


def test_a_gradient_of_weights_is_made_without_turning_the_gradient_of_z(key):
    """h^T dz, not (dz^T h)^T: dz has as many columns as there are gates, times those of h."""
    h, dz = jax.random.normal(key, (8, 3)), jax.random.normal(key, (8, 12))
    product = lambda w: h @ w
    like = jnp.zeros((3, 12))
    plain, swapped = (
        transpose(product, like) for transpose in (jax.linear_transpose, cpu.linear_transpose)
    )
    chex.assert_trees_all_close(swapped(dz), plain(dz), rtol=1e-12)
    turned = lambda f: re.search(r"permutation=\(1, 0\)", str(jax.make_jaxpr(f)(dz)))
    assert turned(plain) and not turned(swapped)
