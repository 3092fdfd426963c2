"""Cut points of the adaptive softmax: the least cost of all cuts, and what follows from that."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from lmjax import heads
from lmjax.heads import Cost, cutoffs
from lmjax.heads.cutoffs import _fit

B = 50
COUNTS = 1000 // np.arange(1, 15)
LARGE = 10**7 // np.arange(1, 33_279)
PAPER = Cost(latency=2e-5, slope=1e-9, least=2e5)  # near 50 words at 2560 positions
MODELS = {
    "one for all": [Cost(30.0, 1.0)] * 4,
    "a floor": [Cost(10.0, 1.0, 200.0)] * 4,
    "narrower clusters": [Cost(20.0, 1.0), Cost(20.0, 0.3, 40.0), Cost(25.0, 0.1, 40.0)],
}


def price(counts, costs, cuts, positions):
    """The definition of C."""
    edges = (*cuts, len(counts))
    total = costs[0](edges[0] + len(cuts), positions)
    for g, (start, end) in zip(costs[1:], pairwise(edges), strict=False):
        total += g(end - start, positions * counts[start:end].sum() / counts.sum())
    return total


@pytest.mark.parametrize("costs", MODELS.values(), ids=MODELS)
def test_no_cuts_cost_less(costs):
    every = [cuts for k in range(len(costs)) for cuts in combinations(range(1, len(COUNTS)), k)]
    least = min(price(COUNTS, costs, cuts, B) for cuts in every)
    found = cutoffs(COUNTS, costs, positions=B)
    assert found in every
    assert price(COUNTS, costs, found, B) == pytest.approx(least, rel=1e-12)


def test_more_clusters_never_cost_more_and_cuts_are_cutoffs_of_the_head():
    prices = []
    for clusters in range(6):
        cuts = cutoffs(LARGE, [PAPER] * (clusters + 1), positions=2560)
        assert len(cuts) <= clusters
        heads.adaptive(8, len(LARGE), cutoffs=cuts)
        prices.append(price(LARGE, [PAPER] * 6, cuts, 2560))
    assert (np.diff(prices) <= 0).all() and prices[1] < prices[0] / 3
    assert prices[4] < price(LARGE, [PAPER] * 6, heads.default_cutoffs(len(LARGE)), 2560)


def test_where_nothing_is_gained_nothing_is_cut():
    assert cutoffs(LARGE, [Cost(1.0, 0.0)] * 5) == ()
    assert cutoffs(LARGE, [PAPER]) == ()
    assert cutoffs([7], [PAPER]) == ()


def test_the_cost_is_flat_and_then_rises():
    np.testing.assert_allclose(Cost(1.0, 2.0, 6.0)(np.array([1, 2, 3]), 3), [13, 13, 19])


def test_a_fit_finds_the_model_that_made_the_times():
    sizes = np.array([2e3, 8e3, 6e4, 2e5, 5e5, 2e6])
    for least in (0.0, 6e4):
        cost = Cost(1e-5, 2e-9, least)
        np.testing.assert_allclose(_fit(sizes, cost(sizes, 1)), cost, rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cutoffs([3, 1, 2], [PAPER]), "counts: must fall, .* word 2 has 2, .* before 1"),
        (lambda: cutoffs([0, 0], [PAPER]), "counts: must be at least 0 and not all 0"),
        (lambda: cutoffs([2, -1], [PAPER]), "counts: must be at least 0"),
        (lambda: cutoffs([], [PAPER]), "counts: must be at least 0 and not all 0"),
        (lambda: cutoffs([2, 1], [PAPER] * 3), "costs: .* at most 2 for as many words, got 3"),
        (lambda: cutoffs([2, 1], []), "costs: .* got 0"),
        (lambda: cutoffs([2, 1], [PAPER], positions=0), "positions: must be at least 1, got 0"),
        (lambda: heads.measure_costs(0), "n: must be at least 1, got 0"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
