"""What is kept of a step, what is made again, and what stands before or after the loops."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from problems import CELLS, N_IN, B, N, T, loss

from lmjax.cell import Cell
from lmjax.unroll import record, scan, unroll


@pytest.mark.usefixtures("on_cpu")
def test_no_weight_gradient_inside_the_loop(key):
    """The loops hold products with x, h and dz; the gradients of the weights come after."""
    cell, xs = CELLS["rnn"], jnp.ones((T, 4, N_IN))
    params = cell.init(key)
    state = cell.initial_state(params, (4,))
    gradient = lambda run: jax.jit(jax.grad(lambda p: loss(run, cell, p, state, xs)))
    ours, plain = (gradient(run).lower(params).compile().as_text() for run in (unroll, scan))
    is_product = lambda line: re.search(r"= f64\[[\d,]*\]\S* (dot|custom-call)\(", line)
    dots = [line for line in ours.splitlines() if is_product(line) and "while/body" in line]
    shapes = [re.search(r"f64\[([\d,]*)\]", line)[1] for line in dots]
    assert set(shapes) == {f"4,{N}"} and len(shapes) == 3, shapes
    inside = [line for line in plain.splitlines() if " dot(" in line and "while/body" in line]
    assert f"f64[{N},{N}]" in "".join(inside)


def test_what_is_kept_of_a_step(key):
    """States once, sigma but not sigma', and sigma whole where its parts are asked."""
    sigmoid, split = jax.nn.sigmoid, jnp.split
    steps = {
        "h": lambda w, h, x: jnp.tanh(h @ w[:, :N] + x),
        "h, c, i f o g, tanh(c)": lambda w, s, x: lstm(*split(s[0] @ w, 4, 1), s[1], x),
        "h, z r, tanh": lambda w, h, x: gru(
            h, *split(sigmoid(h @ w[:, : 2 * N]), 2, 1), w[:, 2 * N : 3 * N], x
        ),
    }

    def lstm(i, f, o, g, c, x):
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g + x)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(h, z, r, w, x):
        return (1 - z) * h + z * jnp.tanh((r * h) @ w + x)

    w, h, xs = (
        jax.random.normal(key, (N, 4 * N)),
        jnp.zeros((B, N)),
        jax.random.normal(key, (T, B, N)),
    )
    for (kept, step), count in zip(steps.items(), [2, 7, 4], strict=True):
        cell = Cell(init=None, initial_state=None, step=step)
        pullback = record(cell, w, (h, h) if "c" in kept else h, xs)[1]
        sizes = [
            leaf.size / xs.size for leaf in jax.tree.leaves(pullback) if leaf.shape[:2] == (T, B)
        ]
        assert sum(sizes) == count, (kept, sizes)


def test_what_weights_alone_give_is_hoisted(key):
    """The product of two weights stands before the loops; in them there is one with the state."""
    step = lambda w, h, x: jnp.tanh(h @ jnp.sin(w @ w)[:, ::-1] + x)
    cell, w = Cell(init=None, initial_state=None, step=step), jax.random.normal(key, (N, N))
    state, xs = jnp.zeros((B, N)), jax.random.normal(key, (T, B, N))
    squares = lambda run: jax.value_and_grad(lambda w: jnp.sum(run(cell, w, state, xs)[1] ** 2))
    chex.assert_trees_all_close(squares(unroll)(w), squares(scan)(w), rtol=1e-10)

    def equations(jaxpr):
        for e in jaxpr.eqns:
            yield e
            for sub in jax.extend.core.jaxprs_in_params(e.params):
                yield from equations(sub)

    def loops(jaxpr):
        for e in equations(jaxpr):
            if e.primitive.name == "scan":
                names = [inside.primitive.name for inside in equations(e.params["jaxpr"])]
                yield [name for name in names if name in ("dot_general", "sin")]

    forward, backward = loops(jax.make_jaxpr(squares(unroll))(w).jaxpr)
    assert forward == ["dot_general"]
    assert "sin" not in backward


def test_products_keep_their_precision(key):
    """Weights in bfloat16 round no gradient of a float32 state; an asked-for precision stays."""
    dot = partial(jnp.matmul, preferred_element_type=jnp.float32, precision="highest")
    step = lambda w, h, x: jnp.tanh(dot(h.astype(w.dtype), w) + x)
    cell, w = (
        Cell(init=None, initial_state=None, step=step),
        jax.random.normal(key, (N, N)).astype(jnp.bfloat16),
    )
    state, xs = jnp.zeros((B, N), jnp.float32), jax.random.normal(key, (T, B, N), jnp.float32)
    gradient = lambda run: jax.grad(lambda xs: jnp.sum(run(cell, w, state, xs)[1] ** 2))
    chex.assert_trees_all_close(gradient(unroll)(xs), gradient(scan)(xs), rtol=1e-5)
    text = str(jax.make_jaxpr(gradient(unroll))(xs))
    assert text.count("dot_general[") == text.count(
        "precision=(Precision.HIGHEST, Precision.HIGHEST)"
    )
