"""Affine cells: time in parallel is time in sequence."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from problems import CELLS, WAYS, B, N, gradients, problem

from lmjax.cell import Cell, affine
from lmjax.unroll import associative, scan, unroll


@pytest.mark.parametrize(("length", "reverse"), [(1, False), (6, True), (7, False)])
def test_an_affine_recurrence_in_parallel_is_the_one_in_sequence(length, reverse, key):
    """What accelerators run, with its gradient and the gradient of that."""

    @partial(jax.jit, static_argnums=0)
    def results(run, args):
        value = lambda args: jnp.sin(run(reverse, *args)).sum()
        curvature = jax.grad(
            lambda args: sum((g**2).sum() for g in jax.tree.leaves(jax.grad(value)(args)))
        )
        return run(reverse, *args), jax.grad(value)(args), curvature(args)

    k = jax.random.split(key, 3)
    a = jax.random.uniform(k[0], (length, B, N)).at[0, 0].set(0)
    args = jax.random.normal(k[1], (B, N)), a, jax.random.normal(k[2], (length, B, N))
    chex.assert_trees_all_close(
        results(associative.in_parallel, args),
        results(associative.in_sequence, args),
        rtol=1e-12,
        atol=1e-12,
    )


def test_what_an_accelerator_runs(key, monkeypatch):
    monkeypatch.setattr(associative, "choose", associative.in_parallel)
    cell = CELLS["mingru"]
    way = WAYS["mask reverse"]
    ours, plain = (
        jax.jit(lambda *args, run=run: gradients(run, cell, *args, **way))(*problem(cell, key))
        for run in (unroll.__wrapped__, scan)
    )
    chex.assert_trees_all_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [0, B])
def test_a_decay_without_batch_axes_is_every_sequences(length, key):
    cell = Cell(
        init=None,
        initial_state=None,
        step=affine,
        encode=lambda p, xs: (jnp.outer(p[0, : len(xs)], p[1]), xs),
    )
    k = jax.random.split(key, 3)
    args = (
        jax.random.normal(k[0], (2, N)),
        jax.random.normal(k[1], (B, N)),
        jax.random.normal(k[2], (length, B, N)),
    )
    chex.assert_trees_all_close(unroll(cell, *args), scan(cell, *args), rtol=1e-12)
    chex.assert_trees_all_close(
        gradients(unroll, cell, *args), gradients(scan, cell, *args), rtol=1e-12
    )
