"""Sparse non-negative matrices beside Kneser-Ney smoothing: the same counts, other weights.

For three sets of features (n-grams; n-grams and skip-grams; the same without training) the exact
test perplexity, the links and the seconds, beside a modified Kneser-Ney model of the same order.
The figure shows the factor that training gives a link, against how often it was seen.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import data, metrics, plot
from lmjax.models import Params, ngram, snm


@dataclass(frozen=True)
class Config:
    corpus: str = "stdlib"  # or a directory
    order: int = 5
    positions: int = 200_000  # that the factors are trained on
    seed: int = 0


def run(cfg: Config) -> dict:
    text = data.stdlib() if cfg.corpus == "stdlib" else data.directory(cfg.corpus)
    eos, size = text.vocab.eos, len(text.vocab)
    named = {"corpus": f"{text.name}:{text.sha256[:8]}", "split": "test", "seed": cfg.seed}
    rows = []

    def measure(name, lm, params, links, seconds):
        score = metrics.perplexity(lm, params, text.test, start=eos, system=name, **named)
        rows.append(
            {"system": name, "perplexity": score.perplexity, "tokens": score.tokens}
            | {"links": links, "seconds": seconds, "signature": score.signature}
        )

    begin = time.perf_counter()
    ngrams = ngram.count(text.train, cfg.order, size=size, eos=eos)
    model = ngram.index(ngram.modified_kneser_ney(ngrams, fallback=ngram.FALLBACK))
    seconds = time.perf_counter() - begin
    kn = ngram.ngram(size, cfg.order, eos=eos)
    measure(f"KN{cfg.order}", kn, Params((), (), model), sum(ngram.storage(model).ngrams), seconds)

    for name, types in {
        f"SNM{cfg.order}": snm.feature_types(cfg.order, remote=0),
        f"SNM{cfg.order}-skip": snm.feature_types(cfg.order),
    }.items():
        begin = time.perf_counter()
        counted = snm.count(text.train, types, vocab_size=size)
        adjustment = snm.train(counted, jax.random.key(cfg.seed), positions=cfg.positions)
        seconds = time.perf_counter() - begin
        links = sum(len(table.follower) for table in counted.tables)
        nothing = jax.tree.map(jnp.zeros_like, adjustment)
        for label, chosen in ((f"{name}, no factors", nothing), (name, adjustment)):
            params = Params((), (), snm.index(counted, chosen))
            measure(label, snm.snm(size, types), params, links, seconds)
    buckets = int(np.searchsorted(snm.EDGES, TOTAL)) + 1  # counts up to that of the feature
    factors = {
        str(offsets): np.exp(adjustment.by_count[t, buckets - 1, :buckets]).tolist()
        for t, offsets in enumerate(types)
    }
    return {
        "config": asdict(cfg),
        "rows": rows,
        "least_count": snm.EDGES[:buckets].tolist(),
        "factor": factors,
    }


TOTAL = 16  # C_f* of the features whose factors are shown: 16 to 23
SHOWN = ["(1,)", "(1, 2)", "(2,)", "(1, 3)", "(3, 4)"]  # types of the figure on the right


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
        rows = result["rows"][::-1]
        bars = left.barh([row["system"] for row in rows], [row["perplexity"] for row in rows])
        left.bar_label(bars, fmt="%.1f", padding=3)
        left.set(xlabel="test perplexity")
        left.margins(x=0.12)
        counts = result["least_count"]
        for name, marker in zip(SHOWN, "osD^v", strict=True):
            right.plot(counts, result["factor"][name], f"{marker}-", label=f"words at {name}")
        right.axhline(1, color="0.6", lw=0.8, zorder=0)
        right.set(xlabel="$C_{fw}$, where $C_{f*}$ is 16 to 23", ylabel="factor $e^A$")
        right.set(xscale="log", yscale="log")
        right.legend()
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/snm")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "snm.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "snm.json").read_text())
    figure(result).savefig(out / "snm.png")
    for row in result["rows"]:
        print(
            f"{row['system']}: perplexity {row['perplexity']:.1f} on {row['tokens']:,} tokens, "
            f"{row['links']:,} links, {row['seconds']:.1f} s\n  {row['signature']}"
        )


if __name__ == "__main__":
    tyro.cli(main)
