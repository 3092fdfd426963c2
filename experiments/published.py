"""Would they fit? The large models of the One Billion Word table, built and not allocated.

Each is made by the library's factories at its published size, and evaluated by shape alone: how
many parameters it has, beside the number that was published, and how many bytes a device holds of
them and of Adagrad's sums, where the tables over the vocabulary are spread over 1, 8 or 32 devices
by rows and all else is on each. Gradients and states come on top.

Published numbers: Jozefowicz, Vinyals, Schuster, Shazeer and Wu (2016), Table 1, where that of
BlackOut is Ji et al.'s (2016). The adaptive ones are the settings of Grave et al. (2017).
"""

import json
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import optax
import tyro
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from lmjax import heads, models, plot
from lmjax.cells import lstm, lstm_projected, rnn, stack

WORDS = 793_471  # those of the benchmark that occur three times or more
CUTOFFS = (4_000, 40_000, 200_000)


def adaptive(n: int) -> heads.Head:
    return heads.adaptive(n, WORDS, cutoffs=CUTOFFS)


SYSTEMS = {  # name -> (published number of parameters, model)
    "LSTM-2048-512": (
        0.83e9,
        models.recurrent(
            lstm_projected(512, 512, memory=2048),
            vocab_size=WORDS,
            head=heads.sampled(512, WORDS, samples=8192),
        ),
    ),
    "2-layer LSTM-8192-1024": (
        1.8e9,
        models.recurrent(
            stack(*[lstm_projected(1024, 1024, memory=8192)] * 2),
            vocab_size=WORDS,
            head=heads.sampled(1024, WORDS, samples=8192),
        ),
    ),
    "LSTM-2048, adaptive": (
        None,
        models.recurrent(
            lstm(256, 2048), vocab_size=WORDS, embedding_size=256, head=adaptive(2048)
        ),
    ),
    "2-layer LSTM-2048, adaptive": (
        None,
        models.recurrent(
            stack(lstm(256, 2048), lstm(2048, 2048)),
            vocab_size=WORDS,
            embedding_size=256,
            head=adaptive(2048),
        ),
    ),
    "RNN-2048, BlackOut": (
        4.1e9,
        models.recurrent(
            rnn(2048, 2048),
            vocab_size=1_000_000,
            head=heads.sampled(2048, 1_000_000, loss=heads.blackout_loss),
        ),
    ),
}


@dataclass(frozen=True)
class Config:
    devices: tuple[int, ...] = (1, 8, 32)


FAST = Config(devices=(1, 8))


def run(cfg: Config) -> dict:
    rows = []
    for name, (published, lm) in SYSTEMS.items():
        params = jax.eval_shape(lm.init, jax.random.key(0))
        kept = params, jax.eval_shape(optax.adagrad(0.2).init, params)
        parts = {part: count(tree) for part, tree in params._asdict().items()}
        rows.append(
            {"system": name, "parameters": parts, "total": sum(parts.values())}
            | {"published": published, "bytes": [held(kept, d) for d in cfg.devices]}
        )
    return {"config": asdict(cfg), "rows": rows}


def count(tree) -> int:
    return sum(prod(x.shape) for x in jax.tree.leaves(tree))


def held(tree, devices: int) -> int:
    """Return the bytes of a device; the rows of a table are filled up to a multiple of these."""
    mesh = AbstractMesh((devices,), ("words",))

    def of(path, x):
        whole = not is_table(path)
        spec = PartitionSpec() if whole else PartitionSpec("words")
        shape = x.shape if whole else (-(-x.shape[0] // devices) * devices, *x.shape[1:])
        return 4 * prod(NamedSharding(mesh, spec).shard_shape(shape))  # float32

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(of, tree)))


def is_table(path) -> bool:
    """Whether a leaf has a row for each word: all of embedding and head but the projections."""
    names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
    return bool({"embed", "head"} & {*names}) and names[-1] != "project"


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, ax = plt.subplots(figsize=(6.4, 2.6))
        names = [row["system"] for row in result["rows"]][::-1]
        for k, (devices, marker) in enumerate(
            zip(result["config"]["devices"], "os^Dv", strict=False)
        ):
            sizes = [row["bytes"][k] / 1e9 for row in result["rows"]][::-1]
            label = f"{devices} device" + "s" * (devices > 1)
            ax.plot(sizes, names, marker, linestyle="", label=label)
        ax.axvline(80, color="0.5", linestyle="-", linewidth=1)
        ax.text(75, len(names) - 0.6, "80 GB", ha="right", va="top", fontsize=9, color="0.4")
        ax.set(xlabel="parameters and Adagrad's sums on a device, GB", xscale="log")
        ax.set_ylim(-0.5, len(names) - 0.5)
        ax.xaxis.set_major_formatter("{x:g}")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/published")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "published.json").write_text(json.dumps(run(cfg), indent=1))
    result = json.loads((out / "published.json").read_text())
    figure(result).savefig(out / "published.png")
    for row in result["rows"]:
        parts = ", ".join(f"{part} {n:,}" for part, n in row["parameters"].items())
        said = f"{row['published'] / 1e9:g} billion" if row["published"] else "not published"
        sizes = zip(result["config"]["devices"], row["bytes"], strict=True)
        print(f"{row['system']}: {row['total']:,} parameters ({parts}); {said}")
        print("  " + ", ".join(f"{b / 1e9:.2f} GB on each of {d}" for d, b in sizes))


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
