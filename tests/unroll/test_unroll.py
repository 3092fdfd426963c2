"""`unroll` against the plain scan, for every kind of cell and every way of running it."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells
from lmjax.cell import Cell, affine, recurrent_weights
from lmjax.unroll import associative, record, scan, unroll

T, B, N_IN, N = 7, 3, 4, 5


def leaky_step(params, state, x):
    return {"h": params["a"] * state["h"] + jnp.tanh(x @ params["u"]), "count": state["count"] + 1}


LEAKY = Cell(  # a user's cell: dict state, an integer leaf, no encode, no read
    init=lambda key: {"a": jnp.asarray(0.9), "u": jax.random.normal(key, (N_IN, N))},
    initial_state=lambda params, batch_shape=(): {
        "h": jnp.zeros((*batch_shape, N)),
        "count": jnp.zeros(batch_shape, int),
    },
    step=leaky_step,
)
CELLS = {
    "rnn": cells.rnn(N_IN, N),
    "relu": cells.rnn(N_IN, N, activation=jax.nn.relu),
    "lstm": cells.lstm(N_IN, N),
    "gru": cells.gru(N_IN, N),
    "gru reset after": cells.gru(N_IN, N, reset_after=True),
    "mingru": cells.mingru(N_IN, N),
    "diagonal": cells.diagonal(N_IN, N),
    "stack": cells.stack(cells.lstm(N_IN, 3), cells.rnn(3, N)),
    "user": LEAKY,
}
MASK = jnp.arange(T)[:, None] < jnp.array([T, 3, 0])
WAYS = {
    "plain": {},
    "mask": {"mask": MASK},
    "reverse": {"reverse": True},
    "mask reverse": {"mask": MASK, "reverse": True},
}


def floats(tree):
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]


def problem(cell, key, length=T, batch=(B,)):
    """Parameters, a start state that is not zero, inputs."""
    k = jax.random.split(key, 3)
    params = cell.init(k[0])
    noise = lambda x: (
        0.3 * jax.random.normal(k[1], x.shape) if jnp.issubdtype(x.dtype, jnp.inexact) else x
    )
    return (
        params,
        jax.tree.map(noise, cell.initial_state(params, batch)),
        jax.random.normal(k[2], (length, *batch, N_IN)),
    )


def loss(run, cell, params, state, xs, **way):
    """A scalar in which every state has a weight of its own."""
    final, states = run(cell, params, state, xs, **way)
    weight = lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    return sum((weight(x) * x).sum() for x in floats(states)) + sum(
        (x**2).sum() for x in floats(final)
    )


def gradients(run, cell, params, state, xs, **way):
    value = lambda params, state, xs: loss(run, cell, params, state, xs, **way)
    found = jax.grad(value, (0, 1, 2), allow_int=True)(params, state, xs)
    return floats(found)


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
    # under the nudge a padded step's own nudge is dropped with the step; its state is the one before
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


@pytest.mark.usefixtures("on_cpu")
def test_no_weight_gradient_inside_the_loop(key):
    """The loops hold products with x and h, and with dz; the gradients of the weights come after."""
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
    """Of LSTM, GRU and vanilla steps: states once, sigma but not sigma', and sigma whole where its parts are asked."""
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
    """Weights in bfloat16 round no gradient of a state in float32; a precision that is asked for stays."""
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


def test_segments_bound_the_memory(key):
    cell = cells.lstm(8, 32)
    params = jax.eval_shape(cell.init, key)
    state = jax.eval_shape(lambda p: cell.initial_state(p, (4,)), params)
    xs = jax.ShapeDtypeStruct((4096, 4, 8), jnp.float64)

    def temporary(segment):
        value = lambda p, s, x: unroll(cell, p, s, x, segment=segment)[0].h.sum()
        return (
            jax.jit(jax.grad(value))
            .lower(params, state, xs)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    assert temporary(64) < temporary(None) / 8


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
