import numpy as np
import pytest
from toy import VOCAB

from lmjax import data


@pytest.fixture(scope="module")
def corpus():
    """Lines `a b c d` with one letter in ten at random: about 0.6 nats a token at best."""
    rng = np.random.default_rng(0)

    def stream(n):
        clean = np.tile(VOCAB.encode("a b c d"), n // 5)
        return np.where(
            rng.random(len(clean)) < 0.1, rng.integers(0, len(VOCAB), len(clean)), clean
        ).astype(np.int32)

    return data.Corpus("toy", VOCAB, stream(1500), stream(300), stream(300), "none")


@pytest.fixture(scope="module")
def noise():
    """Random tokens, in numbers that fill no batch."""
    stream = lambda n, seed: np.random.default_rng(seed).integers(0, len(VOCAB), n).astype(np.int32)
    return data.Corpus("toy", VOCAB, stream(203, 0), stream(91, 1), stream(50, 2), "none")
