"""From counting words to a mixture: each rung of language modelling on one text, and what it costs.

The exact test perplexity of every rung, and the seconds that it took to estimate or train. The last
network is mixed with the 5-gram (weights from the validation text), and with a cache of the words
just read, which learns from the test text and stands apart.
"""

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import tyro

from lmjax import data, metrics, plot, train
from lmjax.models import Params, mixture_weights, ngram


@dataclass(frozen=True)
class Config:
    corpus: str = "stdlib"  # or a directory
    networks: tuple[str, ...] = ("lstm64", "lstm256", "awd")  # recipes
    minutes: float | None = None  # of training, for each network
    cache: int = 2000  # words
    tokens: int | None = None  # of each split, default all
    seed: int = 0


FAST = Config(networks=("lstm64",), minutes=0, tokens=400)

COUNTED = {
    "unigrams": (1, ngram.add_delta),
    "Katz 3-gram": (3, partial(ngram.katz, fallback=True)),
    "Kneser-Ney 5-gram": (5, partial(ngram.modified_kneser_ney, fallback=ngram.FALLBACK)),
}


def run(cfg: Config) -> dict:
    text = data.stdlib() if cfg.corpus == "stdlib" else data.directory(cfg.corpus)
    text = text._replace(**{s: getattr(text, s)[: cfg.tokens] for s in ("train", "valid", "test")})
    named = {"corpus": f"{text.name}:{text.sha256[:8]}", "split": "test", "seed": cfg.seed}
    logp, rungs, eos, unk = {}, [], text.vocab.eos, text.vocab.unk

    def add(name, seconds, test):
        signature = metrics.signature(system=name, **named, tokens=len(test))
        result = metrics.summary(test, text.test == unk, seconds=seconds, signature=signature)
        rungs.append({"system": name, "learns": False, **result._asdict()})

    for name, seconds, lm, params in systems(cfg, text):
        score = partial(metrics.token_log_probs, lm, params, start=eos)
        logp[name] = score(text.valid), score(text.test)
        add(name, seconds, logp[name][1])
    parts = list(logp)[-1], list(COUNTED)[-1]
    valid, test = map(jnp.stack, zip(*(logp[name] for name in parts), strict=True))
    mixed = jax.nn.logsumexp(test, 0, b=mixture_weights(valid)[:, None])
    add(" + ".join(parts), sum(r["seconds"] for r in rungs if r["system"] in parts), mixed)
    options = {"valid": text.valid, "size": cfg.cache, "start": eos, "unknown": unk}
    cached = metrics.cache_perplexity(lm, params, text.test, **options, **named).cached
    told = {**cached._asdict(), "seconds": seconds}
    rungs.append({"system": f"{name} with a cache", "learns": True, **told})
    return {"config": asdict(cfg), "rungs": rungs}


def systems(cfg: Config, text: data.Corpus):
    """Yield each model: its name, the seconds it takes to get it, itself, its parameters."""
    size, eos = len(text.vocab), text.vocab.eos
    for name, (order, estimate) in COUNTED.items():
        begin = time.perf_counter()
        model = ngram.index(estimate(ngram.count(text.train, order, size=size, eos=eos)))
        seconds = time.perf_counter() - begin
        yield name, seconds, ngram.ngram(size, order, eos=eos), Params((), (), model)
    for name in cfg.networks:
        begin = time.perf_counter()
        lm, options = train.plan(train.RECIPES[name], text)
        trained = train.fit(lm, text, jax.random.key(cfg.seed), minutes=cfg.minutes, **options)
        yield name, time.perf_counter() - begin, lm, trained.params


def figure(result: dict):
    rungs = result["rungs"][::-1]
    names = [rung["system"] for rung in rungs]
    with plt.style.context(plot.STYLE):
        fig, (left, right) = plt.subplots(1, 2, figsize=(9, 0.8 + 0.4 * len(rungs)), sharey=True)
        for learns, label in ((False, "fixed"), (True, "learns from the test text")):
            shown = [rung["perplexity"] if rung["learns"] == learns else 0 for rung in rungs]
            bars = left.barh(names, shown, label=label)
            left.bar_label(bars, [f"{x:.1f}" if x else "" for x in shown], padding=3)
        left.legend(loc="lower right")
        left.set(xlabel="test perplexity")
        left.margins(x=0.15)
        right.plot([rung["seconds"] for rung in rungs], names, "o")
        right.set(xlabel="seconds", xscale="log")
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/ladder")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "ladder.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "ladder.json").read_text())
    figure(result).savefig(out / "ladder.png")
    for rung in result["rungs"]:
        print(
            f"{rung['system']}: perplexity {rung['perplexity']:.1f} on {rung['tokens']:,} tokens, "
            f"{rung['seconds']:.1f} s\n  {rung['signature']}"
        )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
