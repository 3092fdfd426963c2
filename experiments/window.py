"""What does a fixed window make of each position? The weights of a trained one, block by block.

The window of the last k words has a matrix of its own for every position, so that what a word means
at one place is learned anew at the next. A window is trained on prose and scored exactly; the
figure shows its matrices W_1..W_k in one scale, and what it costs to go without one of them.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import cells, data, heads, metrics, models, plot, train
from lmjax.plot.style import colour


@dataclass(frozen=True)
class Config:
    corpus: str = "stdlib"  # or a directory
    words: int = 4  # k
    n: int = 64  # size of a word vector and of h_t
    dropout: float = 0.2  # of the features the softmax reads
    epochs: int = 4
    batch_size: int = 32
    bptt: int = 32
    lr: float = 4e-3
    seed: int = 0
    tokens: int | None = None  # take no more than so many of each split


FAST = Config(words=3, n=8, epochs=1, tokens=1000)


def run(cfg: Config) -> dict:
    text = data.stdlib() if cfg.corpus == "stdlib" else data.directory(cfg.corpus)
    splits = {split: getattr(text, split)[: cfg.tokens] for split in ("train", "valid", "test")}
    text, size = text._replace(**splits), len(text.vocab)
    lm = models.recurrent(
        cells.window(cfg.n, cfg.n, words=cfg.words),
        vocab_size=size,
        head=heads.tied(size),
        dropout=models.Dropout(output=cfg.dropout),
    )
    total = cfg.epochs * train.steps_per_epoch(len(text.train), cfg.batch_size, cfg.bptt)
    fitted = train.fit(
        lm,
        text,
        jax.random.key(cfg.seed),
        epochs=cfg.epochs,
        batch_size=cfg.batch_size,
        bptt=cfg.bptt,
        transform=train.optimizer("adam", cfg.lr, steps=total),
    )
    params, w = fitted.params, fitted.params.cell.w
    named = {"corpus": f"{text.name}:{text.sha256[:8]}", "seed": cfg.seed, "window": cfg.words}

    def score(w, **more):
        changed = params._replace(cell=params.cell._replace(w=w))
        return metrics.perplexity(lm, changed, text.test, start=text.vocab.eos, **named, **more)

    without = [score(w.at[k].set(0), without=k + 1).perplexity for k in range(cfg.words)]
    return {"config": asdict(cfg), **score(w)._asdict(), "without": without} | {
        "norms": np.linalg.norm(np.asarray(w), axis=(1, 2)).tolist(),
        "blocks": np.asarray(w, float).round(4).tolist(),
    }


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=(2.6, 1))
        plot.position_weights(result["blocks"], ax=left)
        count = len(result["without"])
        names = [f"$x_{{t-{count - k}}}$" if k < count else "$x_t$" for k in range(1, count + 1)]
        rise = [100 * (p / result["perplexity"] - 1) for p in result["without"]]
        bars = right.bar(names, rise, color=colour(0), width=0.6)
        right.bar_label(bars, fmt="%.0f", padding=2)
        right.margins(y=0.1)
        right.set(xlabel="position with $W_i = 0$", ylabel="rise of the perplexity, %")
        right.set_title(f"test perplexity {result['perplexity']:.1f} with all", fontsize=9)
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/window")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "window.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "window.json").read_text())
    figure(result).savefig(out / "window.png")
    print(f"perplexity {result['perplexity']:.1f}\n  {result['signature']}")
    for k, (norm, without) in enumerate(zip(result["norms"], result["without"], strict=True), 1):
        print(f"W_{k}: norm {norm:.2f}; without it perplexity {without:.1f}")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
