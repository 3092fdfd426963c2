"""Every recipe is a model that can be built and a training that can begin."""

import jax
import pytest

from lmjax import models, train


@pytest.mark.parametrize("name", train.RECIPES)
def test_the_recipe_can_be_built(name):
    model, training = train.RECIPES[name]
    lm = train.build(model, 50)
    shapes = jax.eval_shape(lm.init, jax.random.key(0))
    assert models.vocab_size(lm, shapes) == 50
    train.optimizer(training.optimizer, training.lr, max_norm=training.clip)
    assert training.epochs > 0 and training.batch_size > 0 and training.bptt > 0
