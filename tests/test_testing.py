"""Every law is broken by a small cell or head, and found by its name; a correct one passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import cells, heads, testing
from lmjax.cell import Cell
from lmjax.unroll import unroll

N_IN, N, V = 3, 4, 29
X = jnp.ones(N_IN)
LEAKY = Cell(
    init=lambda key: jax.random.normal(key, (N_IN, N)),
    initial_state=lambda w, batch_shape=(): jnp.zeros((*batch_shape, N)),
    step=lambda w, h, x: 0.9 * h + jnp.tanh(x @ w),
)


def after(change):
    """The leaky cell with its new state changed."""
    return LEAKY._replace(step=lambda w, h, x: change(LEAKY.step(w, h, x)))


def counting(kept=[]):  # noqa: B006 - the bug it shows
    kept.append(0)
    return len(kept)


def leaking(h, kept=[]):  # noqa: B006 - the bug it shows
    kept.append(h)
    return h


def noisy(h):
    return h + jax.random.normal(jax.random.key(0), h.shape)


@jax.custom_vjp
def unsteady(h):
    """The identity, with another gradient every time it is differentiated."""
    return h


unsteady.defvjp(lambda h: (h, None), lambda _, ct: (ct * counting(),))


BROKEN_CELLS = {
    "another dtype": ("state", after(lambda h: h.astype(jnp.float32))),
    "another shape": ("state", after(lambda h: h[..., :2])),
    "another structure": ("state", after(lambda h: (h,))),
    "batch_shape ignored": (
        "initial_state",
        LEAKY._replace(initial_state=lambda w, batch_shape=(): jnp.zeros(N)),
    ),
    "no batch_shape": ("initial_state", LEAKY._replace(initial_state=lambda w: jnp.zeros(N))),
    "a row's own start": (
        "initial_state",
        LEAKY._replace(initial_state=lambda w, b=(): jax.random.normal(jax.random.key(0), (*b, N))),
    ),
    "NaN": ("finite", after(lambda h: h / 0)),
    "NaN in the gradient": ("finite", after(lambda h: h + jnp.sqrt(0 * h))),
    "a counter": ("pure", after(lambda h: h + counting())),
    "a leak": ("pure", after(leaking)),
    "numpy's noise": ("pure", after(lambda h: h + np.random.default_rng().random())),
    "mean over the batch": ("rows", after(lambda h: h - h.mean(0))),
    "noise of the batch's shape": ("rows", after(noisy)),
    "read over the batch": ("rows", LEAKY._replace(read=lambda w, h: h - h.mean(0))),
    "a batch axis too few": (
        "rows",
        LEAKY._replace(step=lambda w, h, x: 0.9 * h + jnp.tanh(w.T.dot(x))),
    ),
    "encode looks across time": (
        "encode",
        LEAKY._replace(encode=lambda w, xs: jnp.cumsum(xs, 0) if xs.ndim > 1 else xs),
    ),
    "an unsteady backward pass": ("unroll", after(unsteady)),
}


def embedding(tokens):
    """A cell over tokens: integers in its input, its parameters and its state, which is a dict."""

    def step(params, state, x):
        h = jnp.tanh(x + state["h"] @ params["w_h"])
        return {"h": h, "count": (state["count"] + 1) % params["period"]}

    return Cell(
        init=lambda key: {
            "embed": jax.random.normal(key, (tokens, N)),
            "w_h": 0.5 * jnp.eye(N),
            "period": 3,
        },
        initial_state=lambda params, batch_shape=(): {
            "h": jnp.zeros((*batch_shape, N)),
            "count": jnp.zeros(batch_shape, int),
        },
        step=step,
        encode=lambda params, xs: params["embed"][xs],
    )


def half(params, state, x):
    """A step in single precision, whatever it is given."""
    return LEAKY.step(params, state, x).astype(jnp.float32)


COUNTER = Cell(
    init=lambda key: (),
    initial_state=lambda params, batch_shape=(): (jnp.zeros(batch_shape, int),),
    step=lambda params, state, x: (state[0] + x,),
)
SINGLE = LEAKY._replace(
    initial_state=lambda w, batch_shape=(): jnp.zeros((*batch_shape, N), jnp.float32), step=half
)
PHASOR = Cell(  # a complex state
    init=lambda key: jax.random.normal(key, (N_IN, N)),
    initial_state=lambda w, batch_shape=(): jnp.zeros((*batch_shape, N), complex),
    step=lambda w, s, x: jnp.exp(1j * jnp.arange(N)) * 0.9 * s + x @ w,
    read=lambda w, s: s.real,
)


@pytest.mark.parametrize("name", BROKEN_CELLS)
def test_a_cell_that_breaks_a_law_is_told_which(name, key):
    law, cell = BROKEN_CELLS[name]
    with pytest.raises(testing.ProtocolError, match=f"^{law}: must hold: ") as caught:
        testing.check_cell(cell, key, X)
    assert caught.value.law == law


@pytest.mark.parametrize(
    ("cell", "x"),
    [
        (LEAKY, X),
        (LEAKY, np.ones(N_IN, np.float32)),
        (embedding(7), 3),
        (COUNTER, 2),
        (SINGLE, X),
        (PHASOR, X),
        (cells.stack(embedding(7)._replace(read=lambda p, s: s["h"]), cells.lstm(N, N)), 3),
    ],
    ids=["user", "float32 x", "tokens", "no parameters", "single precision", "complex", "stack"],
)
@pytest.mark.parametrize("x64", [True, False])
def test_a_correct_cell_passes(cell, x, x64, key):
    with jax.enable_x64(x64):
        testing.check_cell(cell, key, x)


def test_the_message_says_what_was_given_and_what_is_allowed(key):
    message = r"state: .* The state is float32\[4\], allowed is float64\[4\]"
    with pytest.raises(testing.ProtocolError, match=message):
        testing.check_cell(BROKEN_CELLS["another dtype"][1], key, X)
    message = r"rows: .* On a batch \[6\]\.step is off by .*, allowed is 1e-12 of "
    with pytest.raises(testing.ProtocolError, match=message):
        testing.check_cell(BROKEN_CELLS["mean over the batch"][1], key, X)


@pytest.mark.parametrize("way", [{}, {"reverse": True}, {"mask": True}])
def test_every_way_of_running_is_compared(way, key, monkeypatch):
    """An error of 1e-10 in one way of running is found."""

    def wrong(*args, **given):
        final, states = unroll(*args, **given)
        return final, states * (1 + 1e-10 * (set(given) == set(way)))

    monkeypatch.setattr(testing, "unroll", wrong)
    with pytest.raises(testing.ProtocolError, match=r"^unroll: "):
        testing.check_cell(LEAKY, key, X)


# --- heads ----------------------------------------------------------------------------------------

HEAD = heads.softmax(N, V)
SAMPLED = heads.sampled(N, V, samples=7)


def off(function, change):
    return lambda *args: change(function(*args))


def centred(params, y):
    return HEAD.log_probs(params, y - y.mean(0))


BROKEN_HEADS = {
    "not normalised": ("sum", HEAD._replace(log_probs=off(HEAD.log_probs, lambda p: p + 0.1))),
    "mean over the batch": ("broadcast", HEAD._replace(log_probs=centred)),
    "another word": (
        "log_prob",
        HEAD._replace(log_prob=lambda p, y, w: HEAD.log_prob(p, y, (w + 1) % V)),
    ),
    "NaN in the gradient": (
        "finite_loss",
        HEAD._replace(loss=off(HEAD.loss, lambda loss: loss + jnp.sqrt(0 * loss))),
    ),
    "another loss": ("loss", HEAD._replace(loss=off(HEAD.loss, lambda loss: 2 * loss))),
    "more rows": ("touched_rows", SAMPLED._replace(rows=lambda token, key: token.ravel())),
}


@pytest.mark.parametrize("name", BROKEN_HEADS)
def test_a_head_that_breaks_a_law_is_told_which(name, key):
    law, head = BROKEN_HEADS[name]
    with pytest.raises(testing.ProtocolError, match=f"^{law}: must hold: ") as caught:
        testing.check_head(head, key, jnp.ones(N), V)
    assert caught.value.law == law


@pytest.mark.parametrize("head", [HEAD, SAMPLED], ids=["softmax", "sampled"])
def test_a_correct_head_passes(head, key):
    testing.check_head(head, key, jnp.ones(N), V)


def test_every_law_is_broken_here():
    for laws, broken in (
        (testing.CELL_LAWS, BROKEN_CELLS),
        (testing.HEAD_LAWS, BROKEN_HEADS),
    ):
        assert {law.__name__.strip("_") for law in laws} == {law for law, _ in broken.values()}
