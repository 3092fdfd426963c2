import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import N_IN, brute, log_norm, make

from lmjax import analysis, cells
from lmjax.cell import Cell, recurrent_weights
from lmjax.interop.flax import is_recurrent
from lmjax.unroll import record, unroll


def test_state_gradients_are_those_of_brute_force(name):
    flow, expected = analysis.state_gradients(*make(name)), brute(name)
    every = np.arange(len(expected.losses))
    np.testing.assert_allclose(flow.losses, expected.losses, atol=1e-12)
    np.testing.assert_allclose(flow.log_total, log_norm(expected.loss_states.sum(0)), atol=1e-10)
    np.testing.assert_allclose(
        flow.log_direct, log_norm(expected.loss_states[every, every]), atol=1e-10
    )


def test_state_gradients_are_those_of_record():
    case = make("lstm")
    (final, states), pullback = record(*case.run)
    direct = jax.vmap(jax.grad(case.loss, 1), (None, 0, 0))(case.params, states, case.ys)
    gradients = pullback(jax.tree.map(jnp.zeros_like, final), direct).states
    log = analysis.state_gradients(*case).log_total
    np.testing.assert_allclose(log, log_norm(jnp.concatenate(gradients, -1)), atol=1e-10)


def test_maps_are_those_of_brute_force(name):
    case, expected = make(name), brute(name)
    flow = analysis.state_gradient_map(*case)
    np.testing.assert_allclose(flow.log_norm, log_norm(expected.loss_states), atol=1e-10)
    relative = (
        np.exp(log_norm(expected.loss_states))
        / np.exp(np.diag(log_norm(expected.loss_states)))[:, None]
    )
    np.testing.assert_allclose(np.exp(flow.log_relative), relative, rtol=1e-10)


def test_input_and_contribution_maps_are_those_of_brute_force(some):
    case, expected = make(some), brute(some)
    targets = jnp.array([3, 1, 4])
    inputs = analysis.input_gradient_map(*case, targets=targets)
    np.testing.assert_allclose(inputs.log_norm, log_norm(expected.loss_inputs)[targets], atol=1e-10)
    untied = {k: log_norm(v, 2) for k, v in recurrent_weights(expected.loss_params).items()}
    weights = analysis.recurrent_contribution_map(*case)
    for k in untied:
        np.testing.assert_allclose(weights[k].log_norm, untied[k], atol=1e-10)


def test_contribution_maps_of_a_foreign_cell_by_what_its_recurrent_matrices_are_called():
    case, expected = make("linen"), brute("linen")
    untied = recurrent_weights(expected.loss_params, is_recurrent)
    found = analysis.recurrent_contribution_map(*case, named=is_recurrent)
    assert untied and list(found) == list(untied)
    for path, terms in untied.items():
        np.testing.assert_allclose(found[path].log_norm, log_norm(terms, 2), atol=1e-10)
    of_nnx = recurrent_weights(make("nnx").params, is_recurrent)
    assert [w.shape for w in of_nnx.values()] == [(4, 12)]


def test_a_regulariser_of_a_map_has_a_gradient_beside_losses_that_are_zero():
    cell, params, state, xs, *_ = make("rnn")
    weights = jnp.array([0.0, 1, 0, 1, 1])
    weighted = lambda params, h, weight: weight * jnp.sum(h**2)

    def spread(params):
        found = analysis.state_gradient_map(cell, params, state, xs, weighted, weights).log_norm
        return jnp.sum(jnp.where(jnp.isfinite(found), found, 0) ** 2)

    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(jax.grad(spread)(params)))


def test_bands_and_targets_are_parts_of_the_map(some):
    case = make(some)
    whole = analysis.state_gradient_map(*case)
    rows = analysis.state_gradient_map(*case, targets=jnp.array([4, 0, 2]))
    np.testing.assert_allclose(rows.log_norm, whole.log_norm[jnp.array([4, 0, 2])], atol=1e-12)
    np.testing.assert_allclose(
        rows.log_relative, whole.log_relative[jnp.array([4, 0, 2])], atol=1e-12
    )
    length = len(case.xs)
    for max_lag in (2, 7):
        band = analysis.state_gradient_band(*case, max_lag=max_lag)
        for part, of in ((band.log_norm, whole.log_norm), (band.log_relative, whole.log_relative)):
            expected = [
                [of[j + lag, j] if j + lag < length else np.nan for lag in range(max_lag + 1)]
                for j in range(length)
            ]
            np.testing.assert_allclose(part, expected, atol=1e-12)


def test_long_maps_are_made_of_blocks_that_agree():
    """More steps than blocks, against one loss at a time."""
    case = make("rnn", length=70)
    whole = analysis.state_gradient_map(*case)
    for i in (0, 40, 69):
        only = lambda p, s, y: y[2] * case.loss(p, s, y[:2])
        ys = jnp.concatenate([case.ys, jnp.zeros((70, 1)).at[i].set(1)], 1)
        alone = analysis.state_gradients(*case._replace(loss=only, ys=ys)).log_total
        np.testing.assert_allclose(whole.log_norm[i], alone, atol=1e-10)


def test_both_ways_of_a_bidirectional_encoder():
    forward, backward = cells.rnn(N_IN, 3), cells.lstm(N_IN, 2)
    params = forward.init(jax.random.key(1)), backward.init(jax.random.key(2))
    xs = jax.random.normal(jax.random.key(3), (5, N_IN))
    loss = lambda params, states, y: (
        jnp.sum(states[0]) * jnp.sum(jnp.sin(states[1].h)) * jnp.sum(params[0].b + y)
    )
    maps = analysis.bidirectional_gradient_maps(
        forward, backward, params, xs, loss, jnp.ones((5, 1))
    )

    def losses(shifts):
        def run(cell, p, xs, shifts):
            def body(s, at_t):
                s = jax.tree.map(jnp.add, cell.step(p, s, at_t[0]), at_t[1])
                return s, s

            return jax.lax.scan(body, cell.initial_state(p), (cell.encode(p, xs), shifts))[1]

        flip = lambda tree: jax.tree.map(lambda v: v[::-1], tree)
        states = (
            run(forward, params[0], xs, shifts[0]),
            flip(run(backward, params[1], flip(xs), flip(shifts[1]))),
        )
        return jax.vmap(loss, (None, 0, 0))(params, states, jnp.ones((5, 1)))

    zeros = (
        jnp.zeros((5, 3)),
        jax.tree.map(lambda s: jnp.zeros((5, *s.shape)), backward.initial_state(params[1])),
    )
    expected = jax.jit(jax.jacrev(losses))(zeros)
    np.testing.assert_allclose(maps[0].log_norm, log_norm(expected[0]), atol=1e-10)
    np.testing.assert_allclose(
        maps[1].log_norm, log_norm(jnp.concatenate(expected[1], -1)), atol=1e-10
    )
    targets = jnp.array([3, 0])
    some = analysis.bidirectional_gradient_maps(
        forward, backward, params, xs, loss, jnp.ones((5, 1)), targets=targets
    )
    for part, whole in zip(some, maps, strict=True):
        np.testing.assert_allclose(part.log_norm, whole.log_norm[targets], atol=1e-12)


def test_sequences_of_a_batch_keep_their_own_norms_and_masks(some):
    case = make(some)
    mask = jnp.array([[1, 1, 1, 1, 0], [1, 0, 1, 0, 0]], bool).T
    xs, ys = jnp.stack([case.xs, -case.xs], 1), jnp.stack([case.ys, -case.ys], 1)
    state = case.cell.initial_state(case.params, (2,))
    loss = jax.vmap(case.loss, (None, 0, 0))
    padded = jnp.where(mask[..., None], xs, jnp.nan), loss, jnp.where(mask[..., None], ys, jnp.nan)
    flow = analysis.state_gradients(case.cell, case.params, state, *padded, mask=mask)
    pairs = analysis.state_gradient_map(case.cell, case.params, state, *padded, mask=mask)
    for b in range(2):
        kept = np.flatnonzero(mask[:, b])
        alone = case._replace(xs=xs[kept, b], ys=ys[kept, b])
        np.testing.assert_allclose(
            flow.log_total[kept, b], analysis.state_gradients(*alone).log_total, atol=1e-10
        )
        expected = analysis.state_gradient_map(*alone).log_norm
        np.testing.assert_allclose(
            pairs.log_norm[np.ix_(kept, kept, [b])][..., 0], expected, atol=1e-10
        )
    assert (np.asarray(flow.log_direct)[~np.asarray(mask)] == -np.inf).all()
    assert not np.isnan(flow.log_total).any() and not np.isnan(pairs.log_norm).any()
    with pytest.raises(ValueError, match="one number a sequence"):
        analysis.state_gradients(
            case.cell, case.params, state, xs, lambda *a: loss(*a).sum(), ys, mask=mask
        )


DECAY = Cell(init=None, initial_state=None, step=lambda a, h, x: a * h + x)


def weighted(a, h, weight):
    return jnp.sum(weight * h)


@pytest.mark.parametrize(("dtype", "a"), [("float32", 0.5), ("float32", 2.0), ("float64", 0.1)])
def test_a_gradient_beyond_every_float_has_its_log(dtype, a):
    length = 400
    weights = jnp.zeros(length, dtype).at[-1].set(1e-30)
    run = (
        DECAY,
        jnp.asarray(a, dtype),
        jnp.zeros(3, dtype),
        jnp.zeros((length, 3), dtype),
        weighted,
        weights,
    )
    expected = np.log(a) * np.arange(length)[::-1] + np.log(1e-30) + np.log(3) / 2
    flow, pairs = analysis.state_gradients(*run), analysis.state_gradient_map(*run)
    np.testing.assert_allclose(flow.log_total, expected, rtol=1e-6)
    np.testing.assert_allclose(pairs.log_norm[-1], expected, rtol=1e-6)
    assert (flow.log_direct[:-1] == -jnp.inf).all() and (pairs.log_relative[:-1] == -jnp.inf).all()
    assert not jnp.isnan(pairs.log_relative).any()


def test_what_is_not_finite_is_seen_where_it_is():
    run = lambda weights: (DECAY, 0.5, jnp.zeros(()), jnp.zeros(3), weighted, jnp.array(weights))
    assert analysis.state_gradients(*run([1.0, jnp.inf, 1.0])).log_total.tolist() == [
        np.inf,
        np.inf,
        0,
    ]
    assert jnp.isnan(analysis.state_gradients(*run([1.0, jnp.nan, 1.0])).log_total).tolist() == [
        True,
        True,
        False,
    ]
    pairs = analysis.state_gradient_map(*run([1.0, jnp.nan, 1.0])).log_norm
    assert jnp.isnan(pairs).tolist() == [[False] * 3, [True, True, False], [False] * 3]


def test_one_step_and_nothing_to_learn():
    short = make("lstm", length=1)
    flow = analysis.state_gradients(*short)
    np.testing.assert_array_equal(flow.log_total, flow.log_direct)
    np.testing.assert_allclose(
        analysis.state_gradient_map(*short).log_norm[0], flow.log_total, atol=1e-14
    )
    assert (
        analysis.state_gradients(*short.run, lambda p, s, y: jnp.zeros(()), short.ys).log_total
        == -jnp.inf
    ).all()


def test_one_trace_serves_five_calls():
    case = make("rnn")

    @jax.jit
    @chex.assert_max_traces(n=1)
    def maps(params, xs, targets):
        run = case._replace(params=params, xs=xs)
        sampled = analysis.state_gradient_map(*run, targets=targets)
        return (
            sampled,
            analysis.state_gradients(*run),
            analysis.state_gradient_band(*run, max_lag=2),
        )

    for k in range(5):
        maps(case.params, k * case.xs, jax.random.choice(jax.random.key(k), 5, (2,), replace=False))


def test_the_map_needs_the_memory_it_states():
    """T S + T^2, at H = 512, T = 128 in float32, and not the T^2 S of an untied backward pass."""
    cell, length, n = cells.rnn(8, 512), 128, 512
    params = jax.tree.map(
        lambda p: jnp.zeros(p.shape, "float32"), jax.eval_shape(cell.init, jax.random.key(0))
    )
    arrays = (
        params,
        jnp.zeros(n, "float32"),
        jnp.zeros((length, 8), "float32"),
        jnp.zeros((length, n), "float32"),
    )
    loss = lambda p, h, y: jnp.sum((h - y) ** 2)
    run = lambda *arrays: analysis.state_gradient_map(cell, *arrays[:3], loss, arrays[3])
    lowered = jax.jit(run).lower(*arrays)
    temp = lowered.compile().memory_analysis().temp_size_in_bytes
    assert temp < 12 * 4 * (length * n + length**2) < 4 * length**2 * n


def test_unroll_and_analysis_see_the_same_states():
    case = make("stack")
    np.testing.assert_allclose(
        analysis.state_gradients(*case).losses.sum(),
        jax.vmap(case.loss, (None, 0, 0))(case.params, unroll(*case.run)[1], case.ys).sum(),
        rtol=1e-12,
    )
