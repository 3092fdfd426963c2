"""Which cell predicts prose best? RNN, IRNN, LSTM and GRU of one size, trained alike.

Measured by the exact test perplexity. By default on the prose that ships with Python;
`--corpus DIR` takes another text.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import data, metrics, plot, train


@dataclass(frozen=True)
class Config:
    corpus: str = "stdlib"
    cells: tuple[str, ...] = ("rnn", "irnn", "lstm", "gru")
    hidden: int = 128
    dropout: float = 0.2  # of word vectors and of the features the softmax reads
    epochs: int = 6
    batch_size: int = 16
    bptt: int = 32
    lr: float = 5e-3
    max_norm: float = 1.0
    seed: int = 0
    tokens: int | None = None  # take no more than so many of each split


FAST = Config(cells=("rnn", "lstm"), hidden=8, epochs=1, tokens=1000)


def run(cfg: Config) -> dict:
    text = data.stdlib() if cfg.corpus == "stdlib" else data.directory(cfg.corpus)
    text = text._replace(
        **{split: getattr(text, split)[: cfg.tokens] for split in ("train", "valid", "test")}
    )
    total = cfg.epochs * train.steps_per_epoch(len(text.train), cfg.batch_size, cfg.bptt)
    rows = {}
    for cell in cfg.cells:
        model = train.Model(
            cell=cell,
            hidden=cfg.hidden,
            head="tied",
            drop_input=cfg.dropout,
            drop_output=cfg.dropout,
        )
        lm = train.build(model, len(text.vocab))
        fitted = train.fit(
            lm,
            text,
            jax.random.key(cfg.seed),
            epochs=cfg.epochs,
            batch_size=cfg.batch_size,
            bptt=cfg.bptt,
            transform=train.optimizer("adam", cfg.lr, steps=total, max_norm=cfg.max_norm),
        )
        fields = {"corpus": f"{text.name}:{text.sha256[:8]}", "seed": cfg.seed, "cell": cell}
        result = metrics.perplexity(lm, fitted.params, text.test, start=text.vocab.eos, **fields)
        clipped = float(np.mean(np.array(fitted.history.norm) > cfg.max_norm))
        rows[cell] = {**result._asdict(), "clipped": clipped, "history": fitted.history._asdict()}
    unigram = metrics.unigram_perplexity(text.train, text.test, len(text.vocab))
    return {"config": asdict(cfg), "unigram": unigram, "cells": rows}


def figure(result: dict):
    """Draw the learning curves."""
    curves = {
        f"{cell} (test {row['perplexity']:.1f})": train.learning_curve(
            train.History(**row["history"])
        )
        for cell, row in result["cells"].items()
    }
    return plot.learning_curves(curves).figure


def main(cfg: Config = Config(), out: Path = Path("out/cells")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    result = run(cfg)
    (out / "cells.json").write_text(json.dumps(result))
    for cell, row in result["cells"].items():
        print(f"{cell}: test perplexity {row['perplexity']:.2f}  {row['signature']}")
    figure(json.loads((out / "cells.json").read_text())).savefig(out / "cells.png")
    plt.close("all")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
