"""What words are drawn from: draws follow the probabilities that are said."""

import numpy as np
import pytest

from lmjax import heads

V, DRAWS = 29, 100_000
COUNTS = np.random.default_rng(0).integers(1, 50, V)


@pytest.mark.parametrize(
    "proposal",
    [
        *(heads.zipf(V, power) for power in (0.0, 0.5, 1.0, 1.5)),
        *(heads.unigram(COUNTS, power) for power in (0.0, 0.4, 1.0)),
    ],
)
def test_a_proposal_draws_what_it_says(proposal, key):
    q = np.exp(proposal.log_prob(np.arange(V)))
    assert q.sum() == pytest.approx(1)
    drawn = np.bincount(proposal.draw(key, DRAWS), minlength=V) / DRAWS
    np.testing.assert_allclose(drawn, q, atol=4 * np.sqrt(q.max() / DRAWS))


def test_zipf_falls_with_the_rank_and_is_exact_far_out():
    q = heads.zipf(10**6)
    assert (np.diff(q.log_prob(np.arange(100))) < 0).all()
    last = np.arange(10**6 - 3, 10**6, dtype=np.int32)
    expected = np.log(np.log1p(1 / (last + 1.0)) / np.log(10**6 + 1))
    np.testing.assert_allclose(q.log_prob(last), expected, rtol=1e-6)


def test_unigram_is_the_power_of_the_counts():
    q = np.exp(heads.unigram(COUNTS, 0.75).log_prob(np.arange(V)))
    np.testing.assert_allclose(q, COUNTS**0.75 / (COUNTS**0.75).sum(), rtol=1e-12)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="power must be at least 0, got -1"):
        heads.zipf(9, -1.0)
    with pytest.raises(ValueError, match="unigram: counts must be positive"):
        heads.unigram([3, 0, 1])
