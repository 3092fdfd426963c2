"""`unroll` against the plain scan, for every kind of cell and every way of running it."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CELLS, LEAKY, MASK, N_IN, WAYS, B, N, T, floats, gradients, loss, problem

from lmjax import cells
from lmjax.cell import Cell, recurrent_weights
from lmjax.unroll import record, scan, unroll


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CELLS)
def test_states_and_gradients_equal_the_plain_scan(name, way, key):
    cell = CELLS[name]

    @jax.jit
    def everything(*args):
        runs = unroll, scan, partial(unroll, segment=3)
        return [
            (run(cell, *args, **WAYS[way]), gradients(run, cell, *args, **WAYS[way]))
            for run in runs
        ]

    ours, plain, segmented = everything(*problem(cell, key))
    chex.assert_trees_all_close(ours, plain, rtol=1e-12, atol=1e-12)
    chex.assert_trees_all_close(segmented, plain, rtol=1e-12, atol=1e-12)


STEPS = {  # of a user's cell
    "plain": lambda p, h, x: jnp.tanh(h @ p["w"] + x),
    "jitted": lambda p, h, x: jax.nn.silu(jnp.where(x > 0, h @ p["w"], h) + jax.nn.relu(x)),
    "product of a product": lambda p, h, x: jnp.tanh(jnp.tanh(h @ p["w"]) @ p["w"] + x),
    "gate before the product": lambda p, h, x: (
        jnp.tanh((jax.nn.sigmoid(x + h @ p["w"]) * h) @ p["w"]) + p["d"] * h
    ),
    "two products": lambda p, h, x: (
        h - jax.nn.sigmoid(h @ p["w"] + x) * jnp.tanh(h @ p["w"].T + p["d"])
    ),
    "a part of the state": lambda p, h, x: jnp.concatenate(
        [h[:, 1:] @ p["w"][1:, :2], jnp.sin(x[:, 2:])], 1
    ),
    "weights squared": lambda p, h, x: jnp.tanh(h @ (p["w"] @ p["w"]) + x * p["d"]),
    "twice the weights": lambda p, h, x: jnp.tanh(h @ p["w"]) * (2 * p["d"]) * jnp.tanh(x),
    "layer norm": lambda p, h, x: jnp.tanh(jax.nn.standardize(h @ p["w"] + x, epsilon=1)),
    "words": lambda p, h, x: jnp.tanh(h @ p["w"] + p["w"][jnp.argmax(x, -1)]),
    "heads": lambda p, h, x: jax.nn.softmax((h @ p["w"]).reshape(-1, N, 1) + x[:, None], 1).mean(
        -1
    ),
    "a matrix each": lambda p, h, x: jnp.tanh(
        jnp.einsum("bi,bij->bj", h @ p["w"], h[:, :, None] * x[:, None])
    ),
    # rows mixed, against the law of a cell: what `unroll` computes is right all the same
    "mean": lambda p, h, x: jnp.tanh((h - h.mean(0)) @ p["w"] + x),
    "other rows": lambda p, h, x: jnp.tanh(h[::-1] @ p["w"] + x),
    "rows as columns": lambda p, h, x: jnp.tanh((h @ p["w"]) * (p["w"] @ h.T).T + x),
    "a row for all": lambda p, h, x: jnp.tanh(h @ p["w"] + h[:1] * x),
    "attention": lambda p, h, x: jnp.tanh((h @ h.T) @ (h @ p["w"]) + x),
    "so far": lambda p, h, x: jnp.tanh(jnp.cumsum(h, 0) @ p["w"] + x),
    "chances of rows": lambda p, h, x: jax.nn.softmax(h @ p["w"] + x, 0),
    "number of rows": lambda p, h, x: jnp.tanh(h @ p["w"] / h.shape[0] + x),
    "number of rows, jitted": lambda p, h, x: jnp.tanh(
        h @ p["w"] / jax.jit(lambda: 1.0 * h.shape[0])() + x
    ),
    "number of rows, counted": lambda p, h, x: jnp.tanh(
        h @ p["w"] / jax.jit(lambda: jnp.ones(len(h)).sum())() + x
    ),
    "which row": lambda p, h, x: jnp.tanh(
        h @ p["w"] + x + jnp.arange(N * h.shape[0]).reshape(-1, N)
    ),
    "noise": lambda p, h, x: jnp.tanh(
        h @ p["w"] + x + jax.random.normal(jax.random.key(0), h.shape)
    ),
    "as many rows as there are": lambda p, h, x: (
        jnp.tanh(h @ p["w"] + x) * jnp.ones((int(h.shape[0]), N))
    ),
    "no product": lambda p, h, x: jnp.tanh(p["d"] * h + x),
    "no state": lambda p, h, x: jnp.tanh(x @ p["w"]),
}


@pytest.mark.parametrize("way", ["plain", "mask reverse"])
@pytest.mark.parametrize("batch", [2, 5])  # N is 5 too
@pytest.mark.parametrize("name", STEPS)
def test_steps_of_every_kind(name, batch, way, key):
    cell = Cell(init=None, initial_state=None, step=STEPS[name])
    shapes = [(N, N), (N,), (batch, N), (T, batch, N)]
    w, d, h, xs = (jax.random.normal(key, shape) for shape in shapes)
    mask = jnp.arange(T)[:, None] < T - jnp.arange(batch)
    way = WAYS[way] | ({"mask": mask} if "mask" in way else {})
    params = {"w": w, "d": d}
    ours, plain = (gradients(run, cell, params, h, xs, **way) for run in (unroll, scan))
    chex.assert_trees_all_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("length", "batch"), [(1, (B,)), (T, ()), (1, ()), (T, (0,)), (T, (1,)), (T, (2, B))]
)
def test_any_length_and_batch_shape(length, batch, key):
    args = CELLS["lstm"], *problem(CELLS["lstm"], key, length, batch)
    ours, plain = (jax.jit(partial(gradients, run, args[0]))(*args[1:]) for run in (unroll, scan))
    chex.assert_trees_all_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_one_step_is_the_cell(name, key):
    cell = CELLS[name]
    params, state, xs = problem(cell, key, length=1)
    final, states = unroll(cell, params, state, xs)
    chex.assert_trees_all_close(
        final, cell.step(params, state, cell.encode(params, xs[0])), rtol=1e-14
    )
    chex.assert_trees_all_equal(final, jax.tree.map(lambda x: x[0], states))


def test_padding_keeps_the_state_and_lets_nothing_through(key):
    cell = CELLS["gru"]
    params, state, xs = problem(cell, key)
    poisoned = jnp.where(MASK[..., None], xs, jnp.nan)
    final, states = unroll(cell, params, state, poisoned, mask=MASK)
    assert np.array_equal(final[2], state[2])  # a sequence of padding only
    assert np.array_equal(states[2:, 1], np.broadcast_to(states[2, 1], (T - 2, N)))
    short, _ = unroll(cell, params, state[1:2], xs[:3, 1:2])
    np.testing.assert_allclose(final[1], short[0], rtol=1e-14)
    clean = gradients(unroll, cell, params, state, xs, mask=MASK)
    chex.assert_trees_all_close(
        gradients(unroll, cell, params, state, poisoned, mask=MASK), clean, rtol=1e-14
    )


def test_carried_state_continues_and_cuts_the_gradient(key):
    cell = CELLS["lstm"]
    params, state, xs = problem(cell, key)
    whole, _ = unroll(cell, params, state, xs)
    middle, _ = unroll(cell, params, state, xs[:4])
    end, _ = unroll(cell, params, middle, xs[4:])
    chex.assert_trees_all_close(whole, end, rtol=1e-13)


@pytest.mark.parametrize("name", ["gru", "user"])
def test_record_tells_the_gradient_of_every_state(name, key):
    cell = CELLS[name]
    params, state, xs = problem(cell, key)

    def nudged(nudges):  # a zero added to every state: its gradient is dL/ds_t
        def step(params, state, at_t):
            x, nudge = at_t
            return jax.tree.map(
                lambda s, e: s if e is None else s + e, cell.step(params, state, x), nudge
            )

        nudged_cell = cell._replace(
            step=step, encode=lambda params, both: (cell.encode(params, both[0]), both[1])
        )
        return loss(scan, nudged_cell, params, state, (xs, nudges), mask=MASK)

    (final, states), pullback = record(cell, params, state, xs, mask=MASK)
    inexact = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    zeros = jax.tree.map(lambda s: jnp.zeros_like(s) if inexact(s) else None, states)
    expected = jax.grad(nudged)(zeros)
    direct = jax.grad(
        lambda args: loss(lambda *_, **__: args, cell, params, state, xs), allow_int=True
    )((final, states))
    found = pullback(*direct)
    # under the nudge a padded step's own nudge is dropped with the step: its state is the former
    valid = jax.tree.map(lambda g: jnp.where(MASK[..., None], g, 0), floats(found.states))
    chex.assert_trees_all_close(valid, floats(expected), rtol=1e-12, atol=1e-12)
    through_params = jax.grad(lambda p: loss(scan, cell, p, state, xs, mask=MASK))(params)
    chex.assert_trees_all_close(found.params, through_params, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "mingru"])
def test_second_order(name, key):
    cell = CELLS[name]
    params, state, xs = problem(cell, key)

    def penalty(run):
        gradient = jax.grad(lambda p: loss(run, cell, p, state, xs))
        return lambda p: sum((g**2).sum() for g in jax.tree.leaves(gradient(p)))

    chex.assert_trees_all_close(
        jax.grad(penalty(unroll))(params), jax.grad(penalty(scan))(params), rtol=1e-10
    )
    hvp = lambda run: jax.jvp(
        jax.grad(lambda p: loss(run, cell, p, state, xs)), (params,), (params,)
    )[1]
    chex.assert_trees_all_close(hvp(unroll), hvp(scan), rtol=1e-10)


def test_second_order_with_a_mask_and_two_batch_axes(key):
    cell, batch = CELLS["lstm"], (2, 3)
    params, state, xs = problem(cell, key, batch=batch)
    mask = jnp.arange(T)[:, None, None] < jnp.array([[T, 3, 0], [1, T, 5]])

    def curvature(run):
        of = lambda params: jax.grad(lambda p: loss(run, cell, p, state, xs, mask=mask))(params)
        return jax.jvp(of, (params,), (params,))[1]

    chex.assert_trees_all_close(curvature(unroll), curvature(scan), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "mingru"])
def test_vmap_over_examples(name, key):
    cell = CELLS[name]
    params, state, xs = problem(cell, key)
    each = lambda run: jax.vmap(
        lambda s, x: jax.grad(lambda p: loss(run, cell, p, s, x))(params), (0, 1)
    )(state, xs)
    chex.assert_trees_all_close(each(unroll), each(scan), rtol=1e-12, atol=1e-12)


def test_gradient_of_what_a_step_closes_over():
    def value(run, alpha):
        cell = Cell(init=None, initial_state=None, step=lambda p, h, x: alpha * h + p * x)
        return run(cell, 2.0, jnp.zeros(3), jnp.ones((4, 3)))[1].sum()

    assert jax.grad(lambda a: value(unroll, a))(0.5) == pytest.approx(
        float(jax.grad(lambda a: value(scan, a))(0.5))
    )


@pytest.mark.parametrize(
    "step",
    [lambda p, h, x: h + x, lambda p, h, x: x, lambda p, h, x: h, lambda p, h, x: p * h],
    ids=["sum", "input", "state", "scaled"],
)
@pytest.mark.parametrize("length", [0, 4])
def test_steps_with_little_to_remember(step, length):
    cell = Cell(init=None, initial_state=None, step=step)
    state, xs = jnp.ones(2), jnp.ones((length, 2))
    found = [
        jax.grad(lambda p, s, x, r=r: r(cell, p, s, x)[0].sum(), (0, 1, 2))(0.5, state, xs)
        for r in (unroll, scan)
    ]
    chex.assert_trees_all_close(*found)


def test_a_state_of_integers_has_no_gradient():
    """A shift register: the state of an n-gram model."""
    shift = lambda p, s, x: jnp.concatenate([s[1:], x[None]])
    cell = Cell(init=None, initial_state=None, step=shift, read=lambda p, s: p[s].sum(-1))
    value = lambda p: cell.read(
        p, unroll(cell, p, jnp.zeros(2, int), jnp.array([1, 2, 2]))[1]
    ).sum()
    assert jax.grad(value)(jnp.arange(3.0)).tolist() == [1, 2, 3]


def test_forward_mode_is_the_plain_scans(key):
    params, state, xs = problem(CELLS["rnn"], key)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda p: unroll(CELLS["rnn"], p, state, xs)[0], (params,), (params,))
    jax.jvp(lambda p: scan(CELLS["rnn"], p, state, xs)[0], (params,), (params,))


def test_equal_cells_share_one_trace(key):
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(xs):
        cell = cells.rnn(N_IN, N)
        return unroll(cell, cell.init(key), jnp.zeros((B, N)), xs)[0]

    assert cells.rnn(N_IN, N) == cells.rnn(N_IN, N)
    run(jnp.ones((T, B, N_IN)))
    run(jnp.zeros((T, B, N_IN)))


def test_recurrent_weights_are_found_by_name(key):
    weights = recurrent_weights(CELLS["stack"].init(key))
    assert {name: w.shape for name, w in weights.items()} == {"0.w_h": (3, 12), "1.w_h": (N, N)}
    assert recurrent_weights(LEAKY.init(key)) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xs": jnp.ones(())}, "leading axis T"),
        ({"mask": jnp.ones(T + 1, bool)}, "leading axis T"),
        ({"segment": 0}, "segment must be at least 1, got 0"),
        (
            {"state": jnp.zeros((B, N), jnp.float32)},
            r"like the one it is given, float32\[3, 5\], got float64\[3, 5\]",
        ),
    ],
)
def test_errors_name_the_argument(change, message, key):
    cell = CELLS["rnn"]
    params, state, xs = problem(cell, key)
    given = {"state": state, "xs": xs} | change
    with pytest.raises(ValueError, match=message):
        unroll(cell, params, given.pop("state"), given.pop("xs"), **given)
