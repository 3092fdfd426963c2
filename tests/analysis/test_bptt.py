import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brute import brute, check_contributions, make

from lmjax import analysis, cells
from lmjax.cell import Cell
from lmjax.unroll import unroll


def test_contributions_are_those_of_brute_force(name):
    case = make(name)
    loss = lambda params: jnp.sum(
        jax.vmap(case.loss, (None, 0, 0))(params, unroll(case.cell, params, *case[2:4])[1], case.ys)
    )
    untied = jax.tree.map(lambda g: g.sum(0), brute(name).loss_params)
    check_contributions(analysis.bptt_contributions(*case), untied, jax.grad(loss)(case.params))


def test_embedding_and_tied_output_weights_of_a_batch_with_padding(key):
    """A language model as one cell, its embedding tied; two sequences, one of them padded."""
    inner = cells.gru(3, 3)
    cell = Cell(
        init=lambda key: {"e": jax.random.normal(key, (7, 3)), "cell": inner.init(key)},
        initial_state=lambda params, batch_shape=(): inner.initial_state(
            params["cell"], batch_shape
        ),
        step=lambda params, state, x: inner.step(params["cell"], state, x),
        encode=lambda params, tokens: inner.encode(params["cell"], params["e"][tokens]),
    )

    def loss(params, h, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(h @ params["e"].T), y[..., None], -1)[..., 0]

    params = cell.init(key)
    tokens = jax.random.randint(key, (6, 2), 0, 7)
    mask = jnp.ones((5, 2), bool).at[3:, 1].set(False)
    run = cell, params, cell.initial_state(params, (2,)), tokens[:-1]

    def total(untied):
        def body(h, at_t):
            p, x, y, valid = at_t
            h = jnp.where(valid[:, None], cell.step(p, h, cell.encode(p, x[None])[0]), h)
            return h, jnp.sum(jnp.where(valid, loss(p, h, y), 0))

        return jnp.sum(jax.lax.scan(body, run[2], (untied, *run[3:], tokens[1:], mask))[1])

    untied = jax.grad(total)(jax.tree.map(lambda p: jnp.broadcast_to(p, (5, *p.shape)), params))
    whole = jax.tree.map(lambda g: g.sum(0), untied)
    found = analysis.bptt_contributions(*run, loss, tokens[1:], mask=mask)
    check_contributions(found, untied, whole)


def test_contributions_in_float32_keep_range():
    """A gradient of e^-277 at the first step, of 1e-30 in all: logs, and shares that sum to one."""
    cell = Cell(init=None, initial_state=None, step=lambda p, h, x: p["a"] * h + p["u"] * x)
    params = {"a": jnp.float32(0.5), "u": jnp.float32(1), "unused": jnp.zeros(2, jnp.float32)}
    length = 400
    weights = jnp.zeros(length, jnp.float32).at[-1].set(1e-30)
    xs = jnp.ones(length, jnp.float32)
    result = analysis.bptt_contributions(
        cell, params, jnp.float32(0), xs, lambda p, h, w: w * h, weights
    )
    expected = np.log(0.5) * np.arange(length)[::-1] + np.log(1e-30)
    np.testing.assert_allclose(result.log_norms["u"], expected, rtol=1e-6)
    for leaf in ("a", "u"):
        np.testing.assert_allclose(result.shares[leaf].sum(), 1, atol=1e-6)
    assert (result.shares["unused"] == 0).all() and (result.log_norms["unused"] == -jnp.inf).all()


def test_one_trace_and_no_copies_of_the_parameters():
    cell = cells.rnn(64, 128)
    params = jax.tree.map(
        lambda p: jnp.zeros(p.shape, "float32"), jax.eval_shape(cell.init, jax.random.key(0))
    )
    run = (
        params,
        jnp.zeros(128, "float32"),
        jnp.zeros((200, 64), "float32"),
        jnp.zeros((200, 128), "float32"),
    )

    @jax.jit
    @chex.assert_max_traces(n=1)
    def contributions(params, state, xs, ys):
        return analysis.bptt_contributions(
            cell, params, state, xs, lambda p, h, y: jnp.sum((h - y) ** 2), ys
        )

    for _ in range(3):
        contributions(*run)
    temp = contributions.lower(*run).compile().memory_analysis().temp_size_in_bytes
    assert temp < 20 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))


# --- truncation -----------------------------------------------------------------------------------


def truncated(untied, allowed):
    """The gradient with the terms dl_i/dtheta|_(j) for which allowed[i, j]."""
    parts = [np.tensordot(allowed, g, 2).ravel() for g in jax.tree.leaves(untied)]
    return np.concatenate(parts)


@pytest.mark.parametrize("mode", ["sliding", "chunked"])
def test_truncation_bias_is_that_of_the_terms_left_out(some, mode):
    case, untied, length = make(some), brute(some).loss_params, len(make(some).xs)
    ks = (1, 2, 3, 5, 9)
    bias = analysis.truncation_bias(*case, ks, mode=mode)
    i, j = np.indices((length, length))
    whole = truncated(untied, np.ones((length, length)))
    for n, k in enumerate(ks):
        part = truncated(untied, (i - j < k) if mode == "sliding" else (i // k == j // k))
        norm = np.linalg.norm
        np.testing.assert_allclose(
            bias.relative_bias[n], norm(part - whole) / norm(whole), atol=1e-10
        )
        np.testing.assert_allclose(bias.norm_ratio[n], norm(part) / norm(whole), atol=1e-10)
        np.testing.assert_allclose(
            bias.cosine[n], part @ whole / norm(part) / norm(whole), atol=1e-10
        )
    np.testing.assert_allclose(bias.relative_bias[-2:], 0, atol=1e-14)


def test_chunks_are_those_of_training_with_a_carried_state():
    case, k = make("lstm", length=6), 2

    def loss(params):
        state, total = case.state, 0.0
        for t in range(0, 6, k):
            final, states = unroll(
                case.cell, params, jax.lax.stop_gradient(state), case.xs[t : t + k]
            )
            total += jnp.sum(jax.vmap(case.loss, (None, 0, 0))(params, states, case.ys[t : t + k]))
            state = final
        return total

    norm = lambda g: np.linalg.norm(np.concatenate([np.ravel(v) for v in jax.tree.leaves(g)]))
    whole = norm(analysis.bptt_contributions(*case).gradient)
    ratio = analysis.truncation_bias(*case, (k,), mode="chunked").norm_ratio[0]
    np.testing.assert_allclose(ratio, norm(jax.grad(loss)(case.params)) / whole, rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ks": (1,), "mode": "both"}, "'sliding' or 'chunked', got 'both'"),
        ({"ks": (0,)}, "at least 1"),
        ({"ks": ()}, "at least 1"),
    ],
)
def test_truncation_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        analysis.truncation_bias(*make("rnn"), **arguments)


# --- paths ----------------------------------------------------------------------------------------


def test_the_path_through_c_is_the_product_of_the_forget_gates():
    case = make("lstm")
    (h, c), f = case.state, []
    for x in case.cell.encode(case.params, case.xs):
        f.append(jax.nn.sigmoid(jnp.split(x + h @ case.params.w_h + case.params.b, 4)[1]))
        h, c = case.cell.step(case.params, type(case.state)(h, c), x)
    jacobians = analysis.step_jacobians(analysis.detach(case.cell, "h"), *case.run[1:])
    np.testing.assert_allclose(jacobians[:, 3:, 3:], jax.vmap(jnp.diag)(jnp.stack(f)), atol=1e-14)
    np.testing.assert_array_equal(jacobians[:, :, :3], 0)


def test_the_two_paths_are_the_two_halves_of_the_jacobian(some):
    case = make(some)
    names = {"user": ("slow", "fast")}.get(some, ("h", "c"))
    if some == "stack":
        case = case._replace(cell=cells.stack(cells.lstm(3, 2), cells.lstm(2, 2)))
        params = case.cell.init(jax.random.key(0))
        case = case._replace(params=params, state=case.cell.initial_state(params))
    whole, *halves = (
        analysis.step_jacobians(analysis.detach(case.cell, *n), *case.run[1:])
        for n in ((), names[:1], names[1:])
    )
    np.testing.assert_allclose(sum(halves), whole, atol=1e-14)


def test_detach_refuses_a_name_that_is_not_there():
    with pytest.raises(ValueError, match=r"\['c', 'h'\], got \('cell',\)"):
        analysis.step_jacobians(analysis.detach(make("lstm").cell, "cell"), *make("lstm").run[1:])
