"""Output layers: laws of probability, the definition, torch, and derivatives of every order."""

from functools import partial
from importlib import import_module
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmjax import heads

softmax_file, adaptive_file = (
    import_module(f"lmjax.heads.{name}") for name in ("softmax", "adaptive")
)
V, N = 29, 16
CUTS = (5, 11)
HEADS = {
    "softmax": heads.softmax(N, V),
    "tied": heads.tied(V),
    "adaptive": heads.adaptive(N, V, cutoffs=CUTS),
    "tied_adaptive": heads.tied_adaptive(N, V, cutoffs=CUTS),
    "class_factored": heads.class_factored(N, V, classes=4),
    "sampled": heads.sampled(N, V, samples=7),
    "tied_sampled": heads.sampled(N, V, samples=7, share_embedding=True),
    "nce": heads.sampled(N, V, samples=7, loss=heads.nce_loss),
    "blackout": heads.sampled(N, V, samples=7, loss=heads.blackout_loss),
}
UNIFORM = heads.zipf(V, 0.0)


@pytest.fixture
def blocked(monkeypatch):
    """Blocks of a few positions, which do not divide their number."""
    monkeypatch.setattr(softmax_file, "LOGITS", {"cpu": 0, "default": 0})
    monkeypatch.setattr(softmax_file, "POSITIONS", 7)


def draw(head, key, shape=(4, 6)):
    """Parameters with biases that are not zero, features and targets."""
    k_params, k_embed, k_y, k_token = jax.random.split(key, 4)
    params = jax.tree.map(
        lambda x: x + 0.1 * jnp.arange(len(x)).reshape(-1, *[1] * (x.ndim - 1)), head.init(k_params)
    )
    y = jax.random.normal(k_y, (*shape, N))
    token = jax.random.randint(k_token, shape, 0, V)
    table = lambda key: jax.random.normal(key, (V, N))
    embed = (head.embedding.init if head.embedding else table)(k_embed)
    return SimpleNamespace(head=params, embed=embed), y, token


def plain(w, b, y, token):
    return jnp.take_along_axis(jax.nn.log_softmax(y @ w.T + b), token[..., None], -1)[..., 0]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shape", [(), (4, 6)])
def test_probabilities_sum_to_one_and_log_prob_picks_one(name, shape, key):
    head = HEADS[name]
    params, y, token = draw(head, key, shape)
    logp = head.log_probs(params, y)
    assert logp.shape == (*shape, V)
    np.testing.assert_allclose(jnp.exp(logp).sum(-1), 1, rtol=1e-12)
    picked = jnp.take_along_axis(logp, token[..., None], -1)[..., 0]
    np.testing.assert_allclose(head.log_prob(params, y, token), picked, rtol=1e-12)
    if head.rows is None:
        np.testing.assert_allclose(head.loss(params, y, token, key), -picked, rtol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_a_token_outside_the_vocabulary_is_nan_and_so_is_its_gradient(name, blocked, key):
    head = HEADS[name]
    params, y, token = draw(head, key)
    token = token.at[:, 3].set(jnp.array([-1, -100, V, 2**31 - 1]))
    at = {
        "log_prob": lambda y: head.log_prob(params, y, token),
        "loss": lambda y: head.loss(params, y, token, key),
    }
    for f in map(jax.jit, at.values()):
        assert (jnp.isnan(f(y)) == (jnp.arange(6) == 3)).all()
        gradient = jax.jit(jax.grad(lambda y, f=f: f(y).mean()))(y)
        assert jnp.isnan(gradient[:, 3]).all()


@pytest.mark.parametrize("kept", [4, 0])
@pytest.mark.parametrize("name", HEADS)
def test_padding_that_is_masked_may_have_any_id(name, kept, blocked, key):
    head = HEADS[name]
    params, y, token = draw(head, key)
    mask = jnp.arange(6) < kept

    @jax.jit
    @partial(jax.grad, argnums=(0, 1, 2))
    def gradient(of_head, embed, y, padding):
        model = SimpleNamespace(head=of_head, embed=embed)
        losses = head.loss(model, y, jnp.where(mask, token, padding[:, None]), key)
        return jnp.where(mask, losses, 0).sum()

    at = partial(gradient, params.head, params.embed, y)
    both = at(jnp.array([-100, -1, V, V + 3])), at(jnp.zeros(4, int))
    chex.assert_trees_all_close(*both, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", HEADS)
def test_tokens_of_another_shape_are_not_spread_over_the_features(name, key):
    params, y, token = draw(HEADS[name], key)
    for call in (HEADS[name].log_prob, partial(HEADS[name].loss, key=key)):
        with pytest.raises(ValueError, match=r"token: must have shape \(4, 6\) .*\(4, 6, 1\)"):
            call(params, y, token=token[..., None])


@pytest.mark.parametrize("form", ["whole", "blocked"])
@pytest.mark.parametrize("cotangents", ["alike", "each its own"])
@pytest.mark.parametrize(
    "function", [heads.softmax_log_prob, lambda *args: -heads.softmax_loss(*args)]
)
def test_values_and_derivatives_are_those_of_the_definition(
    function, cotangents, form, request, key
):
    if form == "blocked":
        request.getfixturevalue("blocked")
    params, y, token = draw(HEADS["softmax"], key)
    weights = (
        jax.random.normal(key, token.shape)
        if cotangents == "each its own"
        else jnp.full(token.shape, 0.3)
    )
    value = lambda f, w, b, y: jnp.sum(weights * f(w, b, y, token))
    first = lambda f: jax.value_and_grad(partial(value, f), argnums=(0, 1, 2))(*params.head, y)
    chex.assert_trees_all_close(first(function), first(plain), rtol=1e-12, atol=1e-12)

    def second(f):  # the gradient of a function of the gradient
        return jax.grad(lambda y: jnp.sum(jax.grad(partial(value, f))(*params.head, y) ** 2))(y)

    np.testing.assert_allclose(second(function), second(plain), rtol=1e-9, atol=1e-12)

    def curvature(f):  # a Hessian-vector product
        return jax.jvp(
            jax.grad(partial(value, f), argnums=(0, 1, 2)), (*params.head, y), (*params.head, y)
        )[1]

    chex.assert_trees_all_close(curvature(function), curvature(plain), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["whole", "blocked"])
def test_forward_mode_of_log_prob(form, request, key):
    if form == "blocked":
        request.getfixturevalue("blocked")
    params, y, token = draw(HEADS["softmax"], key)
    at = lambda f: jax.jvp(lambda w, b, y: f(w, b, y, token), (*params.head, y), (*params.head, y))
    chex.assert_trees_all_close(at(heads.softmax_log_prob), at(plain), rtol=1e-12)


def test_a_batch_without_positions_has_no_loss_and_no_gradient():
    w, b, y, token = jnp.ones((5, 2)), jnp.zeros(5), jnp.zeros((0, 2)), jnp.zeros(0, int)
    total = lambda *args: heads.softmax_loss(*args, token).sum()
    value, gradient = jax.value_and_grad(total, argnums=(0, 1, 2))(w, b, y)
    chex.assert_trees_all_equal((value, gradient), (0.0, jax.tree.map(jnp.zeros_like, (w, b, y))))


@pytest.mark.parametrize("function", [heads.softmax_log_prob, heads.softmax_loss])
def test_no_more_logits_are_in_memory_than_those_of_a_block(function, monkeypatch):
    monkeypatch.setitem(softmax_file.LOGITS, "default", softmax_file.LOGITS["cpu"])
    positions, vocab = 4096, 5000
    w, y, token = jnp.zeros((vocab, 4)), jnp.zeros((positions, 4)), jnp.zeros(positions, int)
    for f in (function, jax.grad(lambda *args: function(*args).mean())):
        used = (
            jax.jit(f)
            .lower(w, jnp.zeros(vocab), y, token)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )
        assert (
            used
            < 4 * softmax_file.LOGITS["cpu"] * w.dtype.itemsize
            < positions * vocab * w.dtype.itemsize / 2
        )


@pytest.mark.parametrize("function", [heads.softmax_log_prob, heads.softmax_loss])
def test_blocks_are_larger_on_an_accelerator(function):
    positions, vocab = 2048, 10_000
    w, b, y, token = (
        jnp.zeros((vocab, 4)),
        jnp.zeros(vocab),
        jnp.zeros((positions, 4)),
        jnp.zeros(positions, int),
    )
    traced = jax.jit(jax.grad(lambda *args: function(*args, token).mean())).trace(w, b, y)
    loops = {
        p: "stablehlo.while" in traced.lower(lowering_platforms=(p,)).as_text()
        for p in ("cpu", "cuda", "tpu")
    }
    assert loops == {"cpu": True, "cuda": False, "tpu": False}


@pytest.mark.parametrize("name", HEADS)
def test_features_may_be_narrower_than_the_parameters(name, blocked, key):
    params, y, token = draw(HEADS[name], key)
    of_y = jax.grad(lambda y: HEADS[name].loss(params, y, token, key).sum())
    narrow = of_y(y.astype(jnp.float32))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, of_y(y), atol=1e-5)


def test_a_shift_of_all_logits_changes_nothing_and_large_ones_do_not_overflow(blocked, key):
    params, y, token = draw(HEADS["softmax"], key)
    w, b = params.head
    expected = heads.softmax_log_prob(w, b, y, token)
    np.testing.assert_allclose(heads.softmax_log_prob(w, b + 1e4, y, token), expected, rtol=1e-8)
    assert jnp.isfinite(heads.softmax_log_prob(1e5 * w, b, y, token)).all()


@pytest.mark.parametrize("spread", [0.0, 30.0, 60.0, 1e3, 1e9, jnp.inf])
def test_the_likeliest_word_by_features_may_have_the_smallest_bias(spread, blocked):
    w, y, token = 100 * jnp.eye(3), jnp.tile(jnp.eye(3)[:1], (15, 1)), jnp.array([0, *[1, 2] * 7])
    w, b, y = (x.astype(jnp.float32) for x in (w, jnp.array([-spread, 0.0, 0.5]), y))
    exact = plain(*(x.astype(float) for x in (w, b, y)), token)
    np.testing.assert_allclose(heads.softmax_log_prob(w, b, y, token)[1:], exact[1:], rtol=1e-6)
    np.testing.assert_allclose(heads.softmax_loss(w, b, y, token)[1:], -exact[1:], rtol=1e-6)
    gradient, expected = (
        jax.grad(lambda y, f=f: f(w, b, y, token)[1:].sum())(y)
        for f in (heads.softmax_log_prob, plain)
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 128])
def test_the_loss_of_the_adaptive_softmax_has_the_gradient_of_log_prob(rows, key, monkeypatch):
    """Chunks of few or many of a cluster's positions; clusters with all of them and with none."""
    monkeypatch.setattr(adaptive_file, "ROWS", rows)
    head = HEADS["adaptive"]
    params, y, some = draw(head, key)
    slow = lambda p, y, token: -head.log_prob(SimpleNamespace(head=p), y, token).mean()
    fast = lambda p, y, token: head.loss(SimpleNamespace(head=p), y, token, key).mean()
    expected, found = (jax.jit(jax.value_and_grad(f, argnums=(0, 1))) for f in (slow, fast))
    for token in (some, jnp.full_like(some, V - 1), jnp.zeros_like(some)):
        both = found(params.head, y, token), expected(params.head, y, token)
        chex.assert_trees_all_close(*both, rtol=1e-10, atol=1e-12)


def test_the_adaptive_softmax_without_clusters_is_the_softmax(key):
    params, y, token = draw(heads.adaptive(N, V, cutoffs=()), key)
    full = SimpleNamespace(head=heads.Softmax(params.head.w, jnp.zeros(V)))
    for name, args in {"log_probs": (y,), "log_prob": (y, token), "loss": (y, token, key)}.items():
        found = getattr(heads.adaptive(N, V, cutoffs=()), name)(params, *args)
        np.testing.assert_array_equal(found, getattr(HEADS["softmax"], name)(full, *args))


def test_the_tied_adaptive_softmax_is_the_adaptive_one_with_its_tables_and_learns_both_ways(key):
    head = HEADS["tied_adaptive"]
    params, y, token = draw(head, key)
    words = jax.random.randint(key, token.shape, 0, V)

    def total(use, params, y):
        own = use(params)
        losses = HEADS["adaptive"].loss(SimpleNamespace(head=own), y, token, key)
        return losses.mean() + jnp.sum(y * vectors(own)[words])

    def vectors(own):  # all V of them, by their definition
        rare = [tail.w @ tail.project.T for tail in own.tails]
        return jnp.concatenate([own.w[: CUTS[0]], *rare])

    def untied(params):
        return params["embed"]._replace(w=jnp.concatenate([params["embed"].w, params["head"]]))

    def tied(params, y):
        losses = head.loss(SimpleNamespace(**params), y, token, key)
        return losses.mean() + jnp.sum(y * head.embedding.lookup(params["embed"], words))

    both = [
        jax.value_and_grad(f, argnums=(0, 1))(vars(params), y)
        for f in (tied, partial(total, untied))
    ]
    chex.assert_trees_all_close(*both, rtol=1e-12, atol=1e-15)
    assert jnp.isnan(head.embedding.lookup(params.embed, jnp.array([-1, V]))).all()


@pytest.mark.parametrize("target", ["any", 0, *CUTS], ids=str)
def test_the_adaptive_softmax_is_torchs(target, key):
    """With targets everywhere, or all of them in the first softmax, or in one cluster."""
    torch = pytest.importorskip("torch")
    n = 64
    head = heads.adaptive(n, V, cutoffs=CUTS, div_value=2)
    params = SimpleNamespace(head=head.init(key))
    y = jax.random.normal(key, (13, n))
    token = jnp.arange(13) * 2 if target == "any" else target + jnp.arange(13) % 5
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(
        n, V, list(CUTS), div_value=2.0, dtype=torch.float64
    )
    with torch.no_grad():
        theirs.head.weight.copy_(torch.tensor(np.array(params.head.w)))
        for tail, (project, w) in zip(theirs.tail, params.head.tails, strict=True):
            tail[0].weight.copy_(torch.tensor(np.array(project.T)))
            tail[1].weight.copy_(torch.tensor(np.array(w)))
    there = torch.tensor(np.array(y), requires_grad=True)
    out = theirs(there, torch.tensor(np.array(token)))
    out.loss.backward()
    mean = lambda p, y: head.loss(SimpleNamespace(head=p), y, token, key).mean()
    loss, (of_params, of_y) = jax.value_and_grad(mean, argnums=(0, 1))(params.head, y)
    close = partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-14)
    close(head.log_probs(params, y), theirs.log_prob(there).detach())
    close(head.log_prob(params, y, token), out.output.detach())
    assert loss == pytest.approx(out.loss.item(), rel=1e-12)
    close(of_y, there.grad)
    close(of_params.w, theirs.head.weight.grad)
    for (project, w), tail in zip(of_params.tails, theirs.tail, strict=True):
        for ours, layer in ((project.T, tail[0]), (w, tail[1])):
            gradient = layer.weight.grad  # None where no target is in the cluster
            close(ours, np.zeros(ours.shape) if gradient is None else gradient)


def test_the_sampled_loss_on_the_whole_vocabulary_is_the_cross_entropy(key):
    params, y, token = draw(HEADS["softmax"], key)
    drawn = jax.random.permutation(key, V)

    def found(p):
        z = y @ p.w.T + p.b
        own = jnp.take_along_axis(z, token[..., None], -1)[..., 0]
        return heads.sampled_loss(own, z[..., drawn], token, drawn, UNIFORM.log_prob).sum()

    expected = lambda p: -plain(*p, y, token).sum()
    chex.assert_trees_all_close(
        *(jax.value_and_grad(f)(params.head) for f in (found, expected)), rtol=1e-12
    )


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_the_sampled_loss_tends_to_the_cross_entropy(power, key):
    params, y, token = draw(HEADS["softmax"], key, (5,))
    expected = -plain(*params.head, y, token)
    errors = [
        jnp.abs(
            heads.sampled(N, V, samples=k, proposal=heads.zipf(V, power)).loss(
                params, y, token, key
            )
            - expected
        ).max()
        for k in (50, 5_000, 200_000)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: heads.adaptive(4, 9, cutoffs=(3, 9)),
            r"cutoffs must rise .* vocab_size=9, got \(3, 9\)",
        ),
        (lambda: heads.adaptive(4, 9, cutoffs=(0, 3)), "cutoffs must rise"),
        (
            lambda: heads.adaptive(4, 9, cutoffs=(3,), div_value=0),
            "div_value must be at least 1, got 0",
        ),
        (
            lambda: heads.tied_adaptive(4, 9, cutoffs=(3, 9)),
            "tied_adaptive: cutoffs must rise",
        ),
        (lambda: heads.sampled(4, 9, samples=0), "samples: must be at least 1, got 0"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
