"""What surrounds the cells: imports, compilation, memory of the training step."""

import json
import platform
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

import lmjax
from lmjax import cells, data, metrics, models, train

VOCAB = data.build_vocabulary(["a b c d"])
LM = models.recurrent(cells.lstm(4, 4), vocab_size=len(VOCAB))
SEGMENTED = models.recurrent(cells.lstm(4, 4), vocab_size=len(VOCAB), segment=3)
ADAM = train.optimizer(steps=20)


@pytest.fixture(scope="module")
def corpus():
    stream = lambda n, seed: np.random.default_rng(seed).integers(0, len(VOCAB), n).astype(np.int32)
    return data.Corpus("toy", VOCAB, stream(203, 0), stream(91, 1), stream(50, 2), "none")


def imported(code):
    """Top-level modules that a fresh process holds after running the code."""
    report = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    return set(json.loads(subprocess.run([sys.executable, "-c", report], capture_output=True, check=True).stdout))


def test_import_is_cheap_and_rooms_come_when_asked_for():
    heavy = {"jax", "numpy", "matplotlib", "optax", "flax", "chex", "safetensors", "rich", "tyro", "torch"}
    assert not imported("import lmjax") & heavy
    assert imported("import lmjax; lmjax.cells") & heavy == {"jax", "numpy"}
    training = imported("import lmjax; lmjax.train; lmjax.analysis")
    assert not training & {"matplotlib", "flax", "rich", "tyro", "torch"}
    assert {"cells", "plot", "__version__"} <= set(dir(lmjax))
    with pytest.raises(AttributeError, match="no attribute 'cell_zoo'"):
        lmjax.cell_zoo  # noqa: B018


def test_two_epochs_with_a_ragged_end_trace_each_step_once(corpus, monkeypatch):
    """203 tokens in 4 sequences, 10 at a time: the last batch is short, and the validation's too."""
    chex.clear_trace_counter()
    counted = lambda function, **jit: jax.jit(chex.assert_max_traces(function.__wrapped__, 1), **jit)
    step = counted(train.step, static_argnames=("lm", "transform", "reset"), donate_argnames="state")
    monkeypatch.setattr(train.loop, "step", step)
    score = sys.modules["lmjax.metrics.perplexity"]
    monkeypatch.setattr(score, "_score", counted(score._score, static_argnames="lm"))
    options = {"epochs": 2, "batch_size": 4, "bptt": 10, "transform": ADAM}
    run = train.fit(LM, corpus, jax.random.key(0), **options)
    assert len(run.history.loss) == 12 and len(run.history.valid) == 2


def test_a_report_comes_before_the_first_step_and_after_it(corpus):
    reports = []
    train.fit(LM, corpus, jax.random.key(0), epochs=1, batch_size=4, bptt=10, transform=ADAM, report=reports.append)
    assert [r.step for r in reports[:2]] == [0, 1] and np.isnan(reports[0].loss) and reports[1].loss > 0


def test_the_step_writes_into_the_memory_of_the_old_state(corpus):
    state = train.init_state(LM, ADAM, jax.random.key(0), 4)
    batch = next(data.contiguous(corpus.train, batch_size=4, seq_len=10, start=VOCAB.eos))
    arrays = lambda state: [x for x in jax.tree.leaves((state.params, state.opt, state.carry)) if x.ndim]
    places = lambda state: {x.unsafe_buffer_pointer() for x in arrays(state)}
    before = places(state)
    assert len(before) == len(arrays(state))
    after, _ = train.step(LM, ADAM, state, batch)  # a donation of no use would warn
    assert places(after) == before and all(x.is_deleted() for x in arrays(state))


def test_segments_leave_training_as_it_is(corpus):
    runs = [
        train.fit(lm, corpus, jax.random.key(0), epochs=1, batch_size=4, bptt=20, transform=ADAM)
        for lm in (LM, SEGMENTED)
    ]
    chex.assert_trees_all_close(runs[0].params, runs[1].params, rtol=1e-9)


def test_segments_take_less_memory(corpus):
    def temporary(lm):
        state = jax.eval_shape(lambda key: train.init_state(lm, ADAM, key, 4), jax.random.key(0))
        batch = next(data.contiguous(np.resize(corpus.train, 4096), batch_size=4, seq_len=1024, start=0))
        return train.step.lower(lm, ADAM, state, batch).compile().memory_analysis().temp_size_in_bytes

    lm = models.recurrent(cells.lstm(16, 16), vocab_size=len(VOCAB))
    gates = 1024 * 4 * (4 * 16) * 4  # bytes of what an LSTM keeps of its gates, at every step, in float32
    assert temporary(lm._replace(segment=32)) < temporary(lm) - gates


def test_perplexity_does_not_depend_on_how_many_tokens_are_scored_at_once(corpus):
    params = LM.init(jax.random.key(0))
    nll = [metrics.perplexity(LM, params, corpus.test, start=VOCAB.eos, seq_len=k).nll for k in (7, 50)]
    assert nll[0] == pytest.approx(nll[1], rel=1e-12)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone gives large blocks back at once")
def test_a_step_finds_its_memory_where_the_last_one_left_it():
    code = """
import resource
import jax.numpy as jnp
from lmjax import train
train.keep_memory()
x = jnp.zeros(2**24, jnp.float32)
def pages(calls):
    for _ in range(calls):
        (x + 1).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-pages(20) + pages(20))  # it takes some calls until their places are found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(done.stdout) < 5 * 2**26 / 4096  # those of five calls
