"""One backend's schedule: results do not depend on it, and the library is right without it."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest
from problems import MASK, N_IN, N, gradients, problem

from lmjax import cells
from lmjax.cells import CELLS
from lmjax.unroll import SCHEDULES, cpu, scan, unroll
from lmjax.unroll.backward import PLAIN

PARTS = {  # the whole schedule, none, and each of its parts by itself
    "all": cpu.CPU,
    "none": PLAIN,
    **{name: PLAIN._replace(**{name: getattr(cpu.CPU, name)}) for name in PLAIN._fields},
}


def assert_same_as_scan(cell, key, **way):
    arguments = problem(cell, key)
    unjitted = unroll.__wrapped__  # reads the schedule now, not where it was first compiled
    states = [run(cell, *arguments, **way) for run in (unjitted, scan)]
    found = [gradients(run, cell, *arguments, **way) for run in (unjitted, scan)]
    chex.assert_trees_all_close(*states, rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_close(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "name", [name for name in CELLS if name not in ("mingru", "diagonal", "window")]
)
def test_results_do_not_depend_on_the_schedule(name, part, key, monkeypatch):
    monkeypatch.setitem(SCHEDULES, "cpu", PARTS[part])
    assert_same_as_scan(CELLS[name](N_IN, N), key, mask=MASK)


def test_the_library_is_right_without_the_file(key, monkeypatch):
    monkeypatch.setattr("lmjax.unroll.SCHEDULES", {})
    assert_same_as_scan(cells.stack(cells.lstm(N_IN, N), cells.gru(N, N)), key)


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
