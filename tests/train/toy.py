"""A toy corpus, and what is trained on it."""

import jax
import pytest

from lmjax import cells, data, models, train
from lmjax.train import loop

VOCAB = data.build_vocabulary(["a b c d"])
LM = models.recurrent(cells.lstm(8, 8), vocab_size=len(VOCAB))
FIT = {"epochs": 3, "batch_size": 5, "bptt": 10}
ADAM = train.optimizer("adam", 0.02, steps=90)

SMALL = models.recurrent(cells.lstm(4, 4), vocab_size=len(VOCAB))
SEGMENTED = models.recurrent(cells.lstm(4, 4), vocab_size=len(VOCAB), segment=3)
SHORT = train.optimizer(steps=20)


def fit(corpus, lm=LM, seed=0, **options):
    return train.fit(lm, corpus, jax.random.key(seed), **{"transform": ADAM, **FIT, **options})


def scripted(monkeypatch, *values):
    """Let the validations of a training be these."""
    values = iter(values)
    monkeypatch.setattr(loop, "_validate", lambda *_: next(values))


def stopped(monkeypatch, at, run):
    """Let Ctrl-C break a training off before a step."""
    step, calls = loop.step, iter(range(1000))

    def stopping(*args, **kwargs):
        if next(calls) == at:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(loop, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(loop, "step", step)
