"""Where to cut a vocabulary for the adaptive softmax: by what its products cost."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmjax.checks import check_positive

__all__ = ["Cost", "cutoffs", "default_cutoffs", "measure_costs", "width"]

CUTS = 200  # candidates, evenly spaced by their logarithms: the cost is flat near its minimum


class Cost(NamedTuple):
    """Seconds of a softmax over k words at b positions: latency + slope max(k b, least).

    References: Grave, Joulin, Cisse, Grangier and Jegou (2017), equation 4.
    """

    latency: float
    slope: float
    least: float = 0.0  # k b below which the hardware is not filled

    def __call__(self, k, b):
        """Return g(k, b)."""
        return self.latency + self.slope * np.maximum(k * b, self.least)


def default_cutoffs(vocab_size: int) -> tuple[int, ...]:
    """Return those of 2000, 10,000, 50,000, ... that are below V.

    They are the published cutoffs, continued by their ratio.

    >>> default_cutoffs(1500), default_cutoffs(10_000), default_cutoffs(33_278)
    ((), (2000,), (2000, 10000))

    References: Grave et al. (2017), the settings for Penn Treebank (2000) and text8 (2000, 10,000).
    """
    return tuple(2000 * 5**j for j in range(20) if 2000 * 5**j < vocab_size)


def width(n: int, cluster: int, div_value: int = 4) -> int:
    """Return how many features the adaptive softmax has for a cluster: n / 4^j, but at least 8.

    >>> [width(256, j) for j in range(4)]
    [256, 64, 16, 8]
    """
    return max(n // div_value**cluster, min(n, 8))


def cutoffs(counts, costs: Sequence[Cost], *, positions: int = 1024) -> tuple[int, ...]:
    """Return the cutoffs c_1 < ... < c_J of the adaptive softmax that cost least, J among them.

        C = g_0(c_1 + J, B) + sum_{j=1..J} g_j(k_j, p_j B),        k_j = c_{j+1} - c_j

    p_j is the share of cluster j in the counts. The minimum over all cuts, or over 200 candidates
    where V is larger, is found by dynamic programming from the rarest words on:

        best_j(u) = min_{v > u} g_j(v - u, p(u..v) B) + best_{j+1}(v)

    The cost says nothing of how well words are predicted. With a cost of each width, wide features
    are kept for few words; one g for all clusters, as the paper has, keeps them for more.

    Args:
        counts: `[V]`, how often each word occurs, falling, as `data.Vocabulary` numbers words.
        costs: g_0 of the first softmax, then g_j of each cluster; their number bounds J.
            `measure_costs` measures them.
        positions: B, of a batch.

    >>> counts = 1000 // np.arange(1, 10_001)
    >>> [len(cutoffs(counts, [Cost(latency, 1e-9)] * 5)) for latency in (1e-5, 1e-3, 1.0)]
    [4, 1, 0]

    Raises:
        ValueError: the counts rise somewhere, are negative or all zero, there are no costs or as
            many clusters as words, or `positions` is below 1.

    References: Grave, Joulin, Cisse, Grangier and Jegou (2017), section 4.
    """
    check_positive(positions=positions)
    counts = np.asarray(counts, float)
    size, most = len(counts), len(costs) - 1
    if (np.diff(counts) > 0).any():
        at = int(np.argmax(np.diff(counts) > 0)) + 1
        raise ValueError(
            f"counts: must fall, the most frequent word first; word {at} has {counts[at]:g}, "
            f"the one before {counts[at - 1]:g}"
        )
    if not counts[:1].sum() > 0 or not counts[-1] >= 0:
        raise ValueError(f"counts: must be at least 0 and not all 0, got {counts.tolist()[:3]}")
    if not 0 <= most < size:
        raise ValueError(
            f"costs: one for the first softmax and one for each cluster, at most {size} for as "
            f"many words, got {len(costs)}"
        )
    edges = np.unique(np.geomspace(1, size, CUTS).round().astype(int)) if size > CUTS else None
    edges = np.arange(1, size + 1) if edges is None else edges  # the last is V
    below = np.append(0, counts.cumsum())[edges] * (positions / counts.sum())
    found = [_of_number(clusters, costs, edges, below, positions) for clusters in range(most + 1)]
    return min(found)[1]


def _of_number(clusters, costs, edges, below, positions):
    """Return the least cost with so many clusters, and its cuts."""
    words, tokens = edges - edges[:, None], below - below[:, None]  # [from, to)
    best, to = np.full(len(edges), np.inf), []
    best[-1] = 0
    for g in costs[clusters:0:-1]:
        through = np.where(words > 0, g(words, tokens) + best, np.inf)
        to.append(through.argmin(1))
        best = through.min(1)
    total = costs[0](edges + clusters, positions) + best
    at, cuts = int(total.argmin()), []
    for after in reversed(to):
        cuts.append(int(edges[at]))
        at = after[at]
    return float(total.min()), tuple(cuts)


def measure_costs(n: int, *, clusters: int = 4, div_value: int = 4, repeats: int = 5) -> list[Cost]:
    """Measure on this machine what a softmax and its gradient cost, and fit a `Cost` a cluster.

    Args:
        n: size of the features y; cluster j has `width(n, j, div_value)`.
        clusters: the most that there may be.
        div_value: how much narrower each cluster is than the one before.
        repeats: of each measurement, the least of which counts.

    >>> costs = measure_costs(8, clusters=1, repeats=1)
    >>> len(costs), bool(costs[0](10_000, 1000) >= costs[0](10, 1000) > 0)
    (2, True)

    Raises:
        ValueError: a number is below 1.
    """
    check_positive(n=n, div_value=div_value, repeats=repeats)
    shapes = [(k, b) for k in (16, 512, 4096) for b in (128, 512)]

    def of(d):
        seconds = [_seconds(k, b, d, repeats) for k, b in shapes]
        return _fit([k * b for k, b in shapes], seconds)

    widths = [width(n, j, div_value) for j in range(clusters + 1)]
    by_width = {d: of(d) for d in dict.fromkeys(widths)}
    return [by_width[d] for d in widths]


def _seconds(k, b, d, repeats):
    """Time the normaliser of a softmax over k words, and its gradient, at b positions."""
    loss = lambda w, y: jax.nn.logsumexp(y @ w.T, -1).mean()
    args = jnp.zeros((k, d), jnp.float32), jnp.zeros((b, d), jnp.float32)
    step = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*args).compile()
    jax.block_until_ready(step(*args))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(step(*args))
        times.append(time.perf_counter() - begin)
    return min(times)


def _fit(sizes, seconds) -> Cost:
    """Fit latency + slope max(size, least) by least squares of relative errors."""
    sizes, seconds = np.asarray(sizes, float), np.asarray(seconds)
    found = []
    for least in sorted({0.0, *sizes})[:-2]:  # two sizes must lie beyond it
        columns = np.stack([np.ones(len(sizes)), np.maximum(sizes, least)], 1)
        (latency, slope), *_ = np.linalg.lstsq(columns / seconds[:, None], np.ones(len(sizes)))
        if latency < 0 or slope < 0:  # noise
            latency, slope = max(latency, 0.0), max(slope, 0.0)
        cost = Cost(float(latency), float(slope), float(least))
        found.append((float((((cost(sizes, 1) - seconds) / seconds) ** 2).sum()), cost))
    return min(found)[1]
