"""The n-gram model as a language model: one distribution, however it is asked."""

import os
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import SafetensorError

from lmjax import decoding, metrics
from lmjax.data import read_lines
from lmjax.models import Params, next_log_probs, states
from lmjax.models import log_prob as score
from lmjax.models import ngram as ng

IDS, VOCAB = ng.read_text(read_lines(Path(__file__).parents[2] / "golden" / "story.txt"))
COUNTS = ng.count(IDS, 4, size=len(VOCAB), eos=VOCAB.eos)
MODEL = ng.index(ng.modified_kneser_ney(COUNTS))
MODELS = {
    "mkn": MODEL,
    "mle": ng.index(ng.mle(COUNTS)),
    "stupid": ng.index(ng.stupid_backoff(COUNTS)),
    "8 bits": ng.quantise(MODEL),
}
LM = ng.ngram(len(VOCAB), 4, eos=VOCAB.eos)
TEXT = np.roll(IDS, 5)[:300]  # seen and unseen, and it ends in the middle of a sentence


def python_log_prob(model, ids):
    """The recursion of the backoff form over dictionaries, a word at a time."""

    def values(x):
        return np.asarray(x.table)[np.asarray(x.code)] if hasattr(x, "code") else np.asarray(x)

    grams, logp, backoff = [(w,) for w in range(model.vocab_size + 1)], {}, {}
    for k, level in enumerate(model.levels):
        if k:
            contexts = np.repeat(np.arange(len(grams)), np.diff(level.first))
            grams = [(*grams[c], int(w)) for c, w in zip(contexts, level.word, strict=True)]
        logp |= dict(zip(grams, values(level.log10p), strict=True))
        if k + 1 < model.order:
            backoff |= dict(zip(grams, values(level.log10b), strict=True))

    def p(history, word):
        if (*history, word) in logp:
            return logp[*history, word]
        return backoff.get(history, float(model.unseen)) + p(history[1:], word)

    result, history = [], (0,)
    for token in ids:
        result.append(p(history, int(token) + 1))
        history = (0,) if token == VOCAB.eos else (*history, int(token) + 1)[-3:]
    return np.array(result) * np.log(10)


@pytest.mark.parametrize("name", MODELS)
def test_every_way_of_asking_gives_the_recursion(name):
    model, params = MODELS[name], Params((), (), MODELS[name])
    expected = python_log_prob(model, TEXT)
    np.testing.assert_allclose(ng.log_prob(model, TEXT), expected, rtol=2e-6, atol=1e-6)
    inputs = np.append(VOCAB.eos, TEXT[:-1])
    start = LM.cell.initial_state(())
    _, through_cell = jax.jit(score, static_argnums=0)(LM, params, start, inputs, TEXT)
    np.testing.assert_allclose(through_cell, expected, rtol=2e-6, atol=1e-6)
    history = states(LM, params, start, inputs)[1]
    whole = jax.jit(next_log_probs, static_argnums=0)(LM, params, history)
    np.testing.assert_allclose(whole[np.arange(len(TEXT)), TEXT], expected, rtol=2e-6, atol=1e-6)


def test_lanes_are_texts_of_their_own():
    rows = np.stack([TEXT[:100], TEXT[100:200]], 1)
    both = ng.log_prob(MODEL, rows)
    for b in range(2):
        np.testing.assert_array_equal(both[:, b], ng.log_prob(MODEL, rows[:, b]))


def test_perplexity_is_that_of_the_lookups():
    expected = np.exp(-np.asarray(ng.log_prob(MODEL, IDS), float).mean())
    result = metrics.perplexity(LM, Params((), (), MODEL), IDS, start=VOCAB.eos, seq_len=500)
    assert result.tokens == len(IDS)
    assert result.perplexity == pytest.approx(expected, rel=1e-6)


def test_looking_up_compiles_once():
    scored = jax.jit(chex.assert_max_traces(lambda model, text: ng.log_prob(model, text), n=1))
    for model in (MODEL, MODEL._replace(unseen=jnp.float32(-1))):
        scored(model, TEXT)
    chex.clear_trace_counter()


def test_a_model_without_estimate_is_uniform():
    for order in (1, 2, 4):
        lm = ng.ngram(7, order, eos=0)
        params = lm.init(jax.random.key(0))
        np.testing.assert_allclose(
            np.exp(next_log_probs(lm, params, lm.cell.initial_state((), (2,)))), 1 / 7, rtol=1e-6
        )


def test_matches_are_the_longest_ngrams_seen():
    length, possible = ng.matches(MODEL, TEXT)
    grams = set()
    sentence = [0]
    for token in IDS:
        sentence.append(int(token) + 1)
        grams |= {tuple(sentence[-k:]) for k in range(1, 5)}
        sentence = [0] if token == VOCAB.eos else sentence
    sentence = [0]
    for t, token in enumerate(TEXT):
        sentence.append(int(token) + 1)
        assert possible[t] == min(len(sentence), 4)
        lengths = range(1, possible[t] + 1)
        assert length[t] == max(k for k in lengths if k == 1 or tuple(sentence[-k:]) in grams)
        sentence = [0] if token == VOCAB.eos else sentence


def test_words_that_share_a_hash_are_told_apart():
    words = np.arange(1 << 20, dtype=np.uint32) + 1
    alike = np.flatnonzero(words * np.uint32(2654435769) >> 16 == 7)  # about sixteen, in one slot
    text = np.stack([np.full(len(alike), 5), alike, np.zeros(len(alike), int)], 1)
    model = ng.index(ng.mle(ng.count(text[::2].ravel(), 2, size=len(words), eos=0)))
    assert len(alike) > 12
    assert model.levels[1].shift.max() > 0
    length = ng.matches(model, text.ravel())[0][1::3]
    np.testing.assert_array_equal(length, 2 - np.arange(len(alike)) % 2)


def test_sparsity_and_storage_count():
    seen = ng.sparsity(MODEL, IDS)
    assert seen.unseen_ngram == seen.unseen_context == (0, 0, 0, 0)
    shares = ng.sparsity(MODEL, np.random.default_rng(0).integers(2, len(VOCAB), 400))
    assert shares.unseen_context[2:] == pytest.approx(shares.unseen_ngram[1:-1], abs=0.01)
    assert list(shares.unseen_ngram) == sorted(shares.unseen_ngram)
    stored = ng.storage(MODEL)
    assert stored.ngrams == tuple(len(grams.word) for grams in COUNTS.grams)
    assert sum(stored.bytes) + 8 == sum(x.nbytes for x in jax.tree.leaves(MODEL))


def test_eight_bits_are_close_and_small():
    small = MODELS["8 bits"]
    exact, rough = (np.asarray(ng.log_prob(m, IDS), float).mean() for m in (MODEL, small))
    assert abs(exact - rough) < 0.02
    assert all(level.log10p.code.dtype == np.uint8 for level in small.levels[1:])
    total = np.exp(ng.log_probs(small, np.zeros(3, np.int32))).sum()
    assert abs(total - 1) < 0.05


@pytest.mark.parametrize("name", ["mkn", "mle"])
def test_eight_bits_keep_what_is_impossible(name):
    *shorter, longest = MODELS[name].levels
    none = np.arange(len(longest.word)) % 100 == 0
    longest = longest._replace(log10p=jnp.where(none, -jnp.inf, longest.log10p))
    exact = MODELS[name]._replace(levels=(*shorter, longest))
    p, rough = (np.exp(ng.log_prob(m, IDS)) for m in (exact, ng.quantise(exact)))
    assert (p == 0).any()
    np.testing.assert_array_equal(p == 0, rough == 0)
    np.testing.assert_allclose(rough, p, rtol=0.1, atol=0.01)


def test_samples_follow_the_distribution():
    params = Params((), (), MODEL)
    ids = decoding.generate(LM, params, [VOCAB.eos], jax.random.key(0), length=4000)
    after_the = ids[1:][ids[:-1] == VOCAB.index["the"]]
    empirical = np.bincount(after_the, minlength=len(VOCAB)) / len(after_the)
    source = IDS[1:][IDS[:-1] == VOCAB.index["the"]]
    assert abs(empirical - np.bincount(source, minlength=len(VOCAB)) / len(source)).sum() < 0.35


@pytest.mark.parametrize("name", ["mkn", "8 bits"])
def test_files_round_trip(name, tmp_path):
    ng.save(tmp_path / "model", MODELS[name], VOCAB, method="mkn")
    model, vocab, facts = ng.load(tmp_path / "model")
    assert (vocab, facts) == (VOCAB, {"method": "mkn"})
    chex.assert_trees_all_equal(model, MODELS[name])
    assert [*tmp_path.iterdir()] == [tmp_path / "model"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"no model")
    with pytest.raises(ValueError, match="x"):
        ng.load(tmp_path / "x")
    with pytest.raises(ValueError, match="words and a vocabulary"):
        ng.save(tmp_path / "y", ng.index(ng.mle(ng.count([0, 1], 2, size=3, eos=0))), VOCAB)


def test_a_full_disk_or_a_device_is_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device")

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is there, and not a file"):
        ng.save(tmp_path / "pipe", MODEL, VOCAB)
    monkeypatch.setattr("lmjax.models.files.save_file", full)
    with pytest.raises(OSError, match=r"model: .*No space left on device"):
        ng.save(tmp_path / "model", MODEL, VOCAB)
    assert [*tmp_path.iterdir()] == [tmp_path / "pipe"]


def test_an_id_that_is_no_word_is_nan_as_long_as_the_model_remembers_it():
    w = VOCAB.index["the"]
    text = jnp.array([w, len(VOCAB), w, w, w, w, -1, VOCAB.eos, w, w])
    expected = [False, True, True, True, True, False, True, True, False, False]
    assert jnp.isnan(ng.log_prob(MODEL, text)).tolist() == expected
    params, before = Params((), (), MODEL), jnp.array([VOCAB.eos, *text[:-1].tolist()])
    state = LM.cell.initial_state(())
    stepwise = score(LM, params, state, before, text)[1]
    np.testing.assert_allclose(stepwise, ng.log_prob(MODEL, text), rtol=1e-6)
    for t, nan in ((4, False), (2, True)):
        after = states(LM, params, state, text[1 : 1 + t])[0]
        assert jnp.isnan(next_log_probs(LM, params, after)).all() == nan
