"""Every compiled entry point lowers for CPU, CUDA and TPU; nothing is run on such a device."""

import ast
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lmjax
from lmjax import analysis, cells, data, decoding, models, train
from lmjax.analysis.arguments import _by_step
from lmjax.analysis.fixed_points import _ends, _jacobians
from lmjax.analysis.spectrum import _modes
from lmjax.decoding.prompt import advance
from lmjax.decoding.sampling import _sample
from lmjax.decoding.translate import _search
from lmjax.metrics.dynamic import _follow, _Moving
from lmjax.metrics.perplexity import _score
from lmjax.models import ngram, snm
from lmjax.models.language_model import _after_one
from lmjax.models.snm.adjustment import left_out, minimise
from lmjax.train import plateau
from lmjax.train.average import average
from lmjax.train.translation import _init_translator, _score_pairs, _translator_step
from lmjax.unroll import record, scan, unroll

T, B, N = 6, 2, 3
CELLS = {
    "rnn": cells.rnn(N, N),
    "lstm": cells.lstm(N, N),
    "gru": cells.gru(N, N),
    "gru, reset after": cells.gru(N, N, reset_after=True),
    "mingru": cells.mingru(N, N),
    "diagonal": cells.diagonal(N, N),
    "stack": cells.stack(cells.lstm(N, N), cells.rnn(N, N)),
}
WAYS = {
    "plain": {},
    "mask": {"mask": np.ones((T, B), bool)},
    "reverse": {"reverse": True},
    "segment": {"segment": 4},
}
LM = models.recurrent(cells.lstm(N, N), vocab_size=5)
ADAM = train.optimizer(steps=9)
TRANSLATOR = train.build_translator(train.TranslatorModel(hidden=N), 5, 5)
((_, PAIRS),) = data.parallel.bucketed([([1, 2, 0], [3, 0])], tokens=6)


def problem(cell, *batch):
    params = cell.init(jax.random.key(0))
    return params, cell.initial_state(params, batch), jnp.ones((T, *batch, N))


def total(cell, params, state, xs, **way):
    return sum(x.sum() for x in jax.tree.leaves(unroll(cell, params, state, xs, **way)[1]))


def both_halves(cell, params, state, xs):
    results, pullback = record(cell, params, state, xs)
    return pullback(*results)


def on_cell(function, *, cell=cells.lstm(N, N), batch=(), **options):
    return partial(function, cell, **options), *problem(cell, *batch)


def on_points(function, *, states=True):
    params, at, xs = problem(CELLS["lstm"], T)
    return partial(function, CELLS["lstm"]), params, xs[:, 0], *[at] * states


def with_loss(function, *more, **options):
    loss = lambda params, state, y: (jax.tree.leaves(state)[0] - y).sum()
    cell = cells.lstm(N, N)
    return lambda params, state, xs: function(
        cell, params, state, xs, loss, xs, *more, **options
    ), *problem(cell)


def on_text(function, *, batch=(B,), **options):
    """A function of `(lm, params, state, ...)`, as scoring and sampling call it."""
    params = LM.init(jax.random.key(0))
    return partial(function, LM, **options), params, LM.cell.initial_state(params.cell, batch)


def on_ngram(function):
    model = ngram.index(ngram.mle(ngram.count(np.array([1, 2, 0, 1, 3, 0]), 3, size=4, eos=0)))
    return function, model, jnp.ones((4, 2), jnp.int32)


def on_tasks(*tasks):
    return lambda key: [task.sample(key, B) for task in tasks], jax.random.key(0)


IDS = np.zeros((T, B), np.int32)
BATCH = data.Batch(IDS, IDS, IDS == 0)
KEY = jax.random.key(0)
SAMPLING = {"length": 4, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "exclude": (1,)}
JACOBIANS = np.ones((T, N, N), np.float32)
ENTRIES = {  # name in the library -> (function, arguments)
    "unroll": lambda: on_cell(unroll),
    "scan": lambda: on_cell(scan),
    "record": lambda: on_cell(both_halves, batch=(B,)),
    "init_state": lambda: (lambda key: train.init_state(LM, ADAM, key, B), KEY),
    "step": lambda: (
        partial(train.step, LM, ADAM, reset=0.1),
        train.init_state(LM, ADAM, KEY, B),
        BATCH,
    ),
    "_init_translator": lambda: (partial(_init_translator, TRANSLATOR, ADAM), KEY),
    "_translator_step": lambda: (
        partial(_translator_step, TRANSLATOR, ADAM),
        _init_translator(TRANSLATOR, ADAM, KEY),
        PAIRS,
    ),
    "_score_pairs": lambda: (partial(_score_pairs, TRANSLATOR), TRANSLATOR.init(KEY), PAIRS),
    "_search": lambda: (
        partial(_search, TRANSLATOR, end=0, size=2, alpha=0.6),
        TRANSLATOR.init(KEY),
        PAIRS.source,
        PAIRS.source_mask,
    ),
    "average": lambda: (average, LM.init(KEY), LM.init(KEY), 0.1),
    "_after_one": lambda: (partial(_after_one, LM), LM.init(KEY)),
    "_score": lambda: (*on_text(_score), BATCH),
    "_follow": lambda: (
        partial(_follow, LM),
        LM.init(KEY),
        _Moving(LM.init(KEY), LM.cell.initial_state(LM.init(KEY).cell, (B,))),
        BATCH,
        0.1,
        0.1,
    ),
    "cache_log_prob": lambda: (
        partial(models.cache_log_prob, size=3),
        jnp.ones((T, N)),
        jnp.zeros(T, jnp.int32),
    ),
    "minimise": lambda: (
        partial(minimise, vocab_size=4, epochs=1, batch_size=2, learning_rate=0.1),
        left_out(snm.count([1, 2, 0, 1, 3, 0], ((), (1,)), vocab_size=4), np.arange(6)),
        KEY,
    ),
    "tell": lambda: (
        partial(plateau.tell, optax.contrib.reduce_on_plateau()),
        jnp.ones(N),
        optax.contrib.reduce_on_plateau().init(jnp.ones(N)),
        1.0,
    ),
    "advance": lambda: (*on_text(advance), IDS),
    "greedy": lambda: on_text(decoding.greedy, start=0, end=0, length=3),
    "beam_search": lambda: on_text(decoding.beam_search, start=0, end=0, length=3, size=2),
    "_sample": lambda: (*on_text(_sample, batch=(), **SAMPLING), KEY),
    "log_prob": lambda: on_ngram(ngram.log_prob),
    "matches": lambda: on_ngram(ngram.matches),
    "log_probs": lambda: on_ngram(ngram.log_probs),
    "sample": lambda: on_tasks(
        data.tasks.adding(10), data.tasks.copy_memory(2), data.tasks.temporal_order(10)
    ),
    "_by_step": lambda: on_points(_by_step, states=False),
    "_ends": lambda: on_points(partial(_ends, steps=2, settle=1)),
    "_jacobians": lambda: on_points(_jacobians),
    "covariant_lyapunov_vectors": lambda: on_cell(analysis.covariant_lyapunov_vectors, key=KEY),
    "participation_ratio": lambda: (analysis.participation_ratio, JACOBIANS),
    "step_jacobians": lambda: on_cell(analysis.step_jacobians),
    "gate_values": lambda: on_cell(analysis.gate_values),
    "pascanu_bounds": lambda: on_cell(analysis.pascanu_bounds, cell=cells.rnn(N, N)),
    "lyapunov_spectrum": lambda: on_cell(analysis.lyapunov_spectrum, key=KEY),
    "jacobian_norm_probes": lambda: on_cell(analysis.jacobian_norm_probes, key=KEY, num_probes=2),
    "jacobian_product_norms": lambda: (
        partial(analysis.jacobian_product_norms, max_lag=3),
        JACOBIANS,
    ),
    "product_log_singular_values": lambda: (analysis.product_log_singular_values, JACOBIANS),
    "state_gradients": lambda: with_loss(analysis.state_gradients),
    "state_gradient_map": lambda: with_loss(analysis.state_gradient_map),
    "input_gradient_map": lambda: with_loss(analysis.input_gradient_map),
    "recurrent_contribution_map": lambda: with_loss(analysis.recurrent_contribution_map),
    "state_gradient_band": lambda: with_loss(analysis.state_gradient_band, max_lag=2),
    "truncation_bias": lambda: with_loss(analysis.truncation_bias, (1, 3)),
    "bptt_contributions": lambda: with_loss(analysis.bptt_contributions),
    "error_surface": lambda: (
        partial(analysis.error_surface, analysis.toy_error),
        jnp.ones(3),
        jnp.ones(2),
    ),
    "descend": lambda: (
        lambda theta: analysis.descend(analysis.toy_error, theta, optax.sgd(0.1), steps=2),
        jnp.ones(2),
    ),
    "recurrent_spectrum": lambda: (analysis.recurrent_spectrum, jnp.ones((N, 4 * N))),
    "_modes": lambda: (_modes, jnp.ones((N, N)), jnp.ones(N), jnp.arange(4)),
}
PLATFORMS = ("cpu", "cuda", "tpu")
NOT_ON_TPU = {"recurrent_spectrum", "_modes"}  # XLA has no eigenvalues of a general matrix there


def lower(platforms, entry):
    with jax.enable_x64(False):
        function, *args = entry()
        return jax.jit(function).trace(*args).lower(lowering_platforms=platforms)


def test_the_table_holds_every_compiled_function():
    found = set()
    for path in Path(lmjax.__file__).parent.rglob("*.py"):
        if path.name == "testing.py":  # compiles a user's functions, within its checks
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(
                "jax.jit" in ast.unparse(d) for d in node.decorator_list
            ):
                found.add(node.name)
    assert found == set(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_point_lowers_for_every_platform(name):
    platforms = ("cpu", "cuda") if name in NOT_ON_TPU else PLATFORMS
    lower(platforms, ENTRIES[name])


@pytest.mark.parametrize(
    "name",
    [
        "_score",
        "_follow",
        "cache_log_prob",
        "_modes",
        *(name for name in ENTRIES if hasattr(analysis, name)),
    ],
)
def test_scores_and_diagnoses_multiply_in_full_precision(name):
    text = lower(("cuda",), ENTRIES[name]).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products), products


@pytest.mark.parametrize("name", sorted(NOT_ON_TPU))
def test_what_a_tpu_cannot_do_is_known(name):
    with pytest.raises(NotImplementedError, match="not found for platform tpu"):
        lower(("tpu",), ENTRIES[name])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CELLS)
def test_a_gradient_lowers_for_every_platform(name, way):
    gradient = jax.grad(partial(total, CELLS[name], **WAYS[way]), (0, 1, 2))
    lower(PLATFORMS, lambda: (gradient, *problem(CELLS[name], B)))
