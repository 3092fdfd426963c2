"""The lecture's n-gram problems on a real text: sparsity, storage, incoherence, against n.

For every order n: which share of the test text's n-grams and of their contexts was never seen in
training, how many n-grams and bytes the model stores, the test perplexity under each smoothing, and
a sample.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import data, decoding, plot
from lmjax.models import Params, ngram


@dataclass(frozen=True)
class Config:
    corpus: str = "stdlib"  # or a directory
    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    delta: float = 0.01
    words: int = 60  # of each sample
    seed: int = 0


def run(cfg: Config) -> dict:
    text = data.stdlib() if cfg.corpus == "stdlib" else data.directory(cfg.corpus)
    eos, size = text.vocab.eos, len(text.vocab)
    methods = {
        f"add {cfg.delta:g}": lambda counts: ngram.add_delta(counts, cfg.delta),
        "Katz": ngram.katz,
        "Kneser-Ney": ngram.kneser_ney,
        "modified Kneser-Ney": lambda counts: ngram.modified_kneser_ney(
            counts, fallback=ngram.FALLBACK
        ),
    }
    perplexities: dict = {name: [] for name in methods}
    result: dict = {"config": asdict(cfg), "sha256": text.sha256, "tokens": len(text.test)}
    result |= {"bytes": [], "bytes_8bit": [], "impossible": [], "samples": []}
    for order in cfg.orders:
        counts = ngram.count(text.train, order, size=size, eos=eos)
        for name, estimate in methods.items():
            try:
                model = ngram.index(estimate(counts))
                perplexities[name].append(
                    float(np.exp(-np.asarray(ngram.log_prob(model, text.test), float).mean()))
                )
            except ValueError:  # the text is too small for this method's discounts
                perplexities[name].append(None)
        impossible = ~np.isfinite(ngram.log_prob(ngram.index(ngram.mle(counts)), text.test))
        result["impossible"].append(float(impossible.mean()))
        for key, stored in (("bytes", model), ("bytes_8bit", ngram.quantise(model))):
            result[key].append(sum(ngram.storage(stored).bytes))
        ids = decoding.generate(
            ngram.ngram(size, order, eos=eos),
            Params((), (), model),
            [eos],
            jax.random.key(cfg.seed),
            length=cfg.words,
            exclude=(text.vocab.unk,),
        )
        result["samples"].append(text.vocab.decode(ids))
    unseen = ngram.sparsity(model, text.test)
    result |= {"unseen_ngram": unseen.unseen_ngram, "unseen_context": unseen.unseen_context}
    return result | {"ngrams": ngram.storage(model).ngrams, "perplexity": perplexities}


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4))
    shares = {
        "n-gram never seen": result["unseen_ngram"],
        "its first n-1 words never seen": result["unseen_context"],
    }
    plot.ngram_sparsity(shares, ax=left)
    plot.ngram_storage(result["ngrams"], result["bytes"], ax=middle)
    plot.ngram_perplexity(result["perplexity"], ax=right)
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/ngram")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "ngram.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "ngram.json").read_text())
    figure(result).savefig(out / "ngram.png")
    for i, order in enumerate(result["config"]["orders"]):
        scores = ", ".join(
            f"{name} {values[i]:.1f}"
            for name, values in result["perplexity"].items()
            if values[i] is not None
        )
        whole, small = (result[key][i] / 1e6 for key in ("bytes", "bytes_8bit"))
        print(f"n = {order}: {whole:.1f} MB ({small:.1f} MB in 8 bits); perplexity {scores}")
        print(
            f"  maximum likelihood: {result['impossible'][i]:.1%} of tokens "
            "have probability 0 or none"
        )
        print(f"  {result['samples'][i]!r}")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
