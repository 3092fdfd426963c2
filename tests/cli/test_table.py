"""The command table: rows as the other commands make them, kept, gone on with, or failing."""

import json
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import pytest

from lmjax import train
from lmjax.cli import systems, table, training
from lmjax.train import Model, Recipe, Training

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = Training(epochs=1, batch_size=2, bptt=16, lr=0.02)
KEYS = {"system", "perplexity", "valid_perplexity", "tokens", "seconds", "parameters"}
KEYS |= {"signature", "published"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus")
    lines = (GOLDEN / "story.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    for split, part in (("train", lines[:70]), ("valid", lines[60:75]), ("test", lines[75:])):
        (path / f"{split}.txt").write_text("".join(part), "utf-8")
    return path


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    monkeypatch.setitem(train.RECIPES, "lstm", Recipe(Model(hidden=4), TINY))
    monkeypatch.setitem(train.RECIPES, "lstm2", Recipe(Model(cell="lsd"), TINY))


@pytest.fixture(autouse=True)
def closed_figures():
    """Leave no figure open behind a test."""
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def done(corpus, tmp_path_factory):
    """The directory of a table, and what was measured."""
    out = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(train.RECIPES, "lstm", Recipe(Model(hidden=4), TINY))
        return out, table.measure_all(str(corpus), out, ["kn5", "lstm"])


def test_rows_are_measured_as_by_the_other_commands(call, corpus, done):
    out, result = done
    kn5, lstm, pair, mixed = result["rows"]
    assert all(row.keys() >= KEYS for row in result["rows"]) and not result["failed"]
    ngram = json.loads(call("ngram", "eval", out / "kn5", "--corpus", corpus, "--json")[1])
    assert kn5["perplexity"] == pytest.approx(ngram["perplexity"], rel=1e-6)
    by_eval = json.loads(call("eval", out / "lstm", "--cache", 2000, "--json")[1])
    for what in ("perplexity", "perplexity_with_cache"):
        assert lstm[what] == by_eval[what]
    assert lstm["parameters"] == sum(
        x.size for x in jax.tree.leaves(train.load_run(out / "lstm").params)
    )
    by_mix = json.loads(call("mix", out / "lstm", out / "kn5", "--corpus", corpus, "--json")[1])
    for row in (pair, mixed):
        assert row["perplexity"] == pytest.approx(by_mix["perplexity"], rel=1e-5)
        assert row["valid_perplexity"] <= min(r["valid_perplexity"] for r in (kn5, lstm))
        assert row["published"] is None
        assert "perplexity_with_cache" not in row
    assert kn5["published"]["perplexity"] == 67.6


def test_a_table_started_again_keeps_what_is_done(call, corpus, done, monkeypatch):
    out, result = done
    words = ("table", "--corpus", corpus, "--out", out, "--rows", "kn5,lstm")
    with monkeypatch.context() as patch:
        patch.setattr(table, "fit", None)
        patch.setattr(table, "train_in", None)
        status, said, err = call(*words)
    assert status == 0, err
    assert json.loads((out / "table.json").read_text("utf-8")) == json.loads(json.dumps(result))
    assert (out / "table.png").stat().st_size > 1000
    first = said.splitlines()[1]
    assert f"{result['rows'][0]['perplexity']:.2f}" in first and first.endswith("67.6")
    (out / "lstm.json").unlink()  # as if killed before it was written
    before = (out / "lstm" / "metrics.jsonl").read_bytes()
    again = json.loads(call(*words, "--json")[1])
    assert again["rows"][1] == json.loads(json.dumps(result["rows"][1]))
    assert (out / "lstm" / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_table_has_kept_its_rows(call, corpus, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "train_in", interrupted)
    words = ("table", "--corpus", corpus, "--out", tmp_path, "--rows", "kn5,lstm")
    assert call(*words)[0] == 130
    assert (tmp_path / "kn5.json").exists() and not (tmp_path / "table.json").exists()


def test_a_row_that_fails_does_not_end_the_table(call, corpus, done, monkeypatch):
    out, _ = done
    monkeypatch.setitem(train.RECIPES, "lstm", Recipe(Model(hidden=5), TINY))
    words = ("table", "--corpus", corpus, "--out", out, "--rows", "lstm2,lstm,kn5", "--json")
    status, said, err = call(*words)
    answer = json.loads(said)
    assert status == 1 and "lstm2 failed: ValueError: cell: must be one of" in err.splitlines()[-1]
    assert [row["system"] for row in answer["rows"]] == [systems.SYSTEMS["kn5"].title]
    assert "made with another recipe" in answer["failed"]["lstm"]


def test_a_row_that_is_none_is_named(call, corpus, tmp_path):
    status, _, err = call("table", "--corpus", corpus, "--out", tmp_path, "--rows", "kn5,kn6")
    assert status == 2 and err.splitlines()[-1].endswith("got kn6")


def test_every_network_of_the_table_has_a_recipe():
    networks = {name for name, system in systems.SYSTEMS.items() if system.method is None}
    assert networks <= train.RECIPES.keys()


def test_a_recipe_is_the_defaults_of_the_command(call, corpus, tmp_path):
    words = ("train", "--corpus", corpus, "--recipe", "lstm64", "--hidden", 4, "--batch-size", 2)
    call(*words, "--out", tmp_path / "r")
    config = train.load_run(tmp_path / "r").config
    model, how = train.RECIPES["lstm64"]
    assert config["model"]["hidden"] == 4 and config["batch_size"] == 2
    assert (config["lr"], config["epochs"]) == (how.lr, how.epochs)
    assert config["model"]["head"] == model.head == "tied"
    assert training.with_recipe(["train"]) is training.train
    status, said, _ = call("train", "--recipe=lstm64", "--help")
    assert status == 0 and f"default: {how.lr}" in " ".join(said.split())
