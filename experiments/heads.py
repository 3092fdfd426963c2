"""What does the output layer cost? Time and memory of a step against the size of the vocabulary.

The full softmax as it is defined, with all logits in memory; the library's, which makes them a
block of positions at a time; the adaptive and the sampled softmax. Targets follow Zipf's law. The
runs are interleaved, and each time is the best of its rounds.
"""

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import tyro

from lmjax import heads, plot


@dataclass(frozen=True)
class Config:
    vocab_sizes: tuple[int, ...] = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
    n: int = 256
    positions: int = 1024  # of a batch: batch size times sequence length
    samples: int = 1024
    rounds: int = 4


FAST = Config(vocab_sizes=(20, 50), n=8, positions=16, samples=4, rounds=1)


def run(cfg: Config) -> dict:
    forms = {
        "all logits": defined,
        "softmax": heads.softmax,
        "adaptive": heads.adaptive,
        "sampled": partial(heads.sampled, samples=cfg.samples),
    }
    result = {name: {"seconds": [], "bytes": []} for name in forms}
    for vocab_size in cfg.vocab_sizes:
        steps = {
            name: compiled(factory(cfg.n, vocab_size), vocab_size, cfg)
            for name, factory in forms.items()
        }
        times = dict.fromkeys(forms, float("inf"))
        for _ in range(cfg.rounds):
            for name, (step, args) in steps.items():
                begin = time.perf_counter()
                jax.block_until_ready(step(*args))
                times[name] = min(times[name], time.perf_counter() - begin)
        for name, (step, _) in steps.items():
            result[name]["seconds"].append(times[name])
            result[name]["bytes"].append(step.memory_analysis().temp_size_in_bytes)
    return {"config": asdict(cfg), "heads": result}


def defined(n: int, vocab_size: int) -> heads.Head:
    """Return the softmax whose loss is its definition, differentiated by JAX."""
    head = heads.softmax(n, vocab_size)

    def loss(params, y, token, key):
        return -jnp.take_along_axis(head.log_probs(params, y), token[..., None], -1)[..., 0]

    return head._replace(loss=loss)


def compiled(head: heads.Head, vocab_size: int, cfg: Config):
    """Return one step of gradient descent on the head's parameters, and its arguments."""

    def step(params, y, token, key):
        mean = lambda params, y: head.loss(SimpleNamespace(head=params), y, token, key).mean()
        of_params, of_y = jax.grad(mean, argnums=(0, 1))(params, y)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, of_params), of_y

    k_params, k_y, k_token = jax.random.split(jax.random.key(0), 3)
    token = heads.zipf(vocab_size).draw(k_token, cfg.positions)
    args = head.init(k_params), jax.random.normal(k_y, (cfg.positions, cfg.n)), token, k_y
    return jax.jit(step).lower(*args).compile(), args


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
        for (name, measured), marker in zip(result["heads"].items(), "os^D", strict=True):
            for ax, values in zip(axes, measured.values(), strict=True):
                ax.plot(result["config"]["vocab_sizes"], values, f"{marker}-", label=name)
        for ax, label in zip(axes, ("seconds a step", "working memory, bytes"), strict=True):
            ax.set(xlabel="vocabulary $V$", ylabel=label, xscale="log", yscale="log")
        axes[0].legend()
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/heads")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "heads.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "heads.json").read_text())
    figure(result).savefig(out / "heads.png")
    for name, measured in result["heads"].items():
        times = ", ".join(f"{1e3 * t:.0f}" for t in measured["seconds"])
        sizes = ", ".join(f"{b / 1e6:.0f}" for b in measured["bytes"])
        print(f"{name}: {times} ms; {sizes} MB")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
