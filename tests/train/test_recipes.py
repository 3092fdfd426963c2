"""Every recipe is a model that can be built and a training that can begin."""

import jax
import numpy as np
import pytest

from lmjax import models, train
from lmjax.data import Corpus, Vocabulary

VOCAB = Vocabulary(("<eos>", *(f"w{k}" for k in range(48)), "<unk>"), "word")
IDS = np.random.default_rng(0).integers(0, 50, 3000)
TOY = Corpus("toy", VOCAB, IDS, IDS[:100], IDS[:100], sha256="")


@pytest.mark.parametrize("name", train.RECIPES)
def test_the_recipe_is_a_model_and_its_training(name):
    lm, options = train.plan(train.RECIPES[name], TOY)
    shapes = jax.eval_shape(lm.init, jax.random.key(0))
    assert models.vocab_size(lm, shapes) == 50
    epochs, batch_size, bptt = (options[name] for name in ("epochs", "batch_size", "bptt"))
    assert epochs * train.steps_per_epoch(len(IDS), batch_size, bptt) >= 1


def test_the_rate_and_the_average_are_those_asked_for():
    recipe = train.Recipe(train.Model(hidden=4), train.Training(decay="constant", average="ema"))
    _, options = train.plan(recipe, TOY)
    steps = train.steps_per_epoch(len(IDS), options["batch_size"], options["bptt"])
    assert options["average"].decay == pytest.approx(1 - 2 / (steps + 1))
    params = {"w": np.ones(3)}
    gradient, state = {"w": np.full(3, 0.1)}, options["transform"].init(params)
    for _ in range(3):
        update, state = options["transform"].update(gradient, state, params)
        np.testing.assert_allclose(update["w"], -recipe.training.lr, rtol=1e-5)
