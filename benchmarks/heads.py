"""What an output layer costs in training: time and memory of a step by head, beside torch's.

    python benchmarks/heads.py --out out/heads
    python benchmarks/heads.py --vocab-sizes 33278 --heads adaptive "torch adaptive" --rounds 5

A step is forward, backward (gradients of the parameters and of the features) and an SGD update of
the parameters, at 640 positions of 256 features whose words follow Zipf's law, in float32. Heads
whose loss is sampled update the rows that they read and no others, as training does; "sampled, all
rows" does not. Weights are drawn once and copied into torch's layers, so that the losses must
agree: `torch cross_entropy` with that of `softmax`, `torch adaptive` with that of `adaptive`, both
with the same cutoffs, of which there are two at most (torch makes a third cluster narrower).

Every number comes from a fresh process, a round visits every head in turn, and medians over the
rounds are told. `peak_mb` is the growth of resident memory from before the first step, when the
parameters are there, to its highest (Linux); `temp_mb` what the compiled step says it works in;
`cpu_seconds` the time of all cores for a step, which other work on the machine changes least;
`ratio` the time of `torch cross_entropy` over that of the head in the same round.

Rows go to heads.json, a table to heads.md, a figure to heads.png. Without torch its rows are left
out.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import heads, plot
from lmjax.models import Params
from lmjax.plot.style import colour
from lmjax.train.sparse import Rows, put, take, used

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from training import child, console, interleaved, progress  # noqa: E402
from works import compile_timed, measure  # noqa: E402

SAMPLED, TORCH, PEER = ("sampled", "nce", "blackout"), "torch cross_entropy", "torch adaptive"
ALL = ("softmax", "adaptive", "class_factored", *SAMPLED, "sampled, all rows", TORCH, PEER)
RATE = 0.1


@dataclass(frozen=True)
class Config:
    """What to measure."""

    vocab_sizes: tuple[int, ...] = (10_000, 33_278, 200_000)
    heads: tuple[str, ...] = ALL
    n: int = 256
    positions: int = 640
    samples: int = 1024
    rounds: int = 3
    seconds: float = 0.5  # of timed steps in each process


FAST = Config((50,), ALL, n=32, positions=8, samples=4, rounds=1, seconds=0.01)


def cuts(vocab_size: int) -> tuple[int, ...]:
    """Return the cutoffs of both adaptive softmaxes."""
    return heads.default_cutoffs(vocab_size)[:2] or (vocab_size // 4,)


def draw(shapes, cfg: Config):
    """Draw the same weights for the same shapes, whoever asks."""
    rng, scale = np.random.default_rng(0), np.float32(cfg.n**-0.5)
    return [rng.uniform(-1, 1, shape).astype(np.float32) * scale for shape in shapes]


def batch(vocab_size: int, cfg: Config):
    """Return features `[N, n]` and words `[N]`."""
    rng, chances = np.random.default_rng(1), 1 / (np.arange(vocab_size) + 2.7)
    token = rng.choice(vocab_size, cfg.positions, p=chances / chances.sum())
    return rng.normal(size=(cfg.positions, cfg.n)).astype(np.float32), token.astype(np.int32)


def our_step(name: str, vocab_size: int, cfg: Config):
    """Return the step of a head, `() -> loss`, and what its compilation took."""
    short = name.removesuffix(", all rows")
    options = {"samples": cfg.samples} if short in SAMPLED else {}
    options |= {"cutoffs": cuts(vocab_size)} if short == "adaptive" else {}
    head = heads.HEADS[short](cfg.n, vocab_size, **options)
    rows = head.rows if short == name else None

    def update(params, y, token, count):
        key = jax.random.fold_in(jax.random.key(0), count)
        of_head = ... if rows is None else rows(token, key)
        ids, _ = used(Params(..., ..., of_head), (params, ()))

        def mean(some, y):
            table = lambda x, i, whole: x if i is ... else Rows(x, i, len(whole))
            tables = jax.tree.map(table, some, ids, params)
            return head.loss(tables, y, token, key).mean()

        some = take(params, ids)
        value, (gradient, of_y) = jax.value_and_grad(mean, argnums=(0, 1))(some, y)
        new = jax.tree.map(lambda p, g: p - RATE * g, some, gradient)
        return put(params, ids, new), of_y, value

    shapes, tree = jax.tree.flatten(jax.eval_shape(head.init, jax.random.key(0)))
    weights = jax.tree.unflatten(tree, map(jnp.array, draw([x.shape for x in shapes], cfg)))
    params, count = jax.block_until_ready(Params((), (), weights)), 0
    args = tuple(map(jnp.array, batch(vocab_size, cfg)))
    compiled, about = compile_timed(jax.jit(update, donate_argnums=0), params, *args, count)

    def step():
        nonlocal params, count
        params, _, value = jax.block_until_ready(compiled(params, *args, count))
        count += 1
        return value

    return step, about


def torch_step(name: str, vocab_size: int, cfg: Config):
    """Return the step of torch's layer, and nothing of a compilation."""
    import torch

    n, given, edges = cfg.n, torch.from_numpy, (*cuts(vocab_size), vocab_size)
    y, token = map(given, batch(vocab_size, cfg))
    y, token = y.requires_grad_(), token.long()
    if name == TORCH:
        layer, shapes = torch.nn.Linear(n, vocab_size), [(vocab_size, n), (vocab_size,)]
        loss = lambda: torch.nn.functional.cross_entropy(layer(y), token)
        weights = draw(shapes, cfg)
    else:
        layer = torch.nn.AdaptiveLogSoftmaxWithLoss(n, vocab_size, list(edges[:-1]), div_value=4)
        sizes = [tail[0].out_features for tail in layer.tail]
        pairs = zip(sizes, np.diff(edges), strict=True)
        tails = [shape for d, k in pairs for shape in ((n, d), (k, d))]
        weights = draw([(edges[0] + len(sizes), n), *tails], cfg)
        weights[1::2] = [project.T for project in weights[1::2]]
        loss = lambda: layer(y, token).loss
    with torch.no_grad():
        for p, w in zip(layer.parameters(), weights, strict=True):
            p.copy_(given(w))
    optimizer = torch.optim.SGD(layer.parameters(), lr=RATE)

    def step():
        optimizer.zero_grad()
        y.grad = None
        value = loss()
        value.backward()
        optimizer.step()
        return value.detach()

    return step, {}


def one(name: str, vocab_size: int, cfg: Config) -> dict:
    """Measure one head in this process."""
    build = torch_step if name.startswith("torch") else our_step
    step, about = build(name, vocab_size, cfg)
    begin = time.process_time()
    result = measure(step, cfg.seconds) | about
    steps = result["steps"] + len(result["losses"])
    return result | {"cpu_seconds": (time.process_time() - begin) / steps}


def program(name: str, vocab_size: int, cfg: Config) -> list[dict]:
    """Measure one head in a fresh process."""
    return child(str(HERE / "heads.py"), json.dumps([name, vocab_size, vars(cfg)]))


def run(cfg: Config, save: Callable[[list[dict]], None] = lambda rows: None) -> list[dict]:
    """Measure, handing all rows so far to `save` after every round."""
    if unknown := {*cfg.heads} - {*ALL}:
        raise ValueError(f"heads: unknown {sorted(unknown)}; there are {', '.join(ALL)}")
    here = [name for name in cfg.heads if name in ALL[:-2] or find_spec("torch")]
    if len(here) < len(cfg.heads):
        console.print("torch: not installed, left out (`make peers` brings it)")
    rows: list[dict] = []
    with progress(cfg.rounds * len(here) * len(cfg.vocab_sizes)) as advance:
        for size in cfg.vocab_sizes:
            programs = {name: partial(program, name, size, cfg) for name in here}
            done = len(rows)
            for results in interleaved(programs, cfg.rounds, partial(advance, f"V = {size:,}")):
                rows[done:] = [row(name, size, results) for name in here if any(results[name])]
                save(rows)
    return rows


def row(name: str, vocab_size: int, results: dict[str, list]) -> dict:
    """Return the medians of a head over its rounds."""
    mine = [r[0] for r in results[name] if r]
    base = zip(results.get(TORCH, []), results[name], strict=False)
    ratios = [b[0]["seconds"] / r[0]["seconds"] for b, r in base if b and r]
    median = lambda key: float(np.median([r[key] for r in mine])) if mine[0].get(key) else None
    return {
        "head": name,
        "V": vocab_size,
        **{key: median(key) for key in ("seconds", "cpu_seconds", "peak_mb", "temp_mb")},
        "ratio": float(np.median(ratios)) if ratios else None,
        "losses": mine[0]["losses"],
        "seconds_by_round": [r["seconds"] for r in mine],
        "cores": os.cpu_count(),
    }


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table."""
    head = "V | head | ms | rounds | CPU ms | peak MB | temp MB | cross_entropy's time over it"
    lines = [f"| {head} |", "|" + "---|" * len(head.split("|"))]
    told = lambda value, form: "" if value is None else f"{value:{form}}"
    for r in rows:
        span = [1e3 * f(r["seconds_by_round"]) for f in (min, max)]
        cells = [f"{r['V']:,}", r["head"], f"{1e3 * r['seconds']:.1f}"]
        cells += ["{:.1f} to {:.1f}".format(*span), f"{1e3 * r['cpu_seconds']:.1f}"]
        cells += [told(r["peak_mb"], ".0f")]
        cells += [told(r["temp_mb"], ".0f"), told(r["ratio"], ".2f")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def figure(rows: list[dict]):
    """Draw time and memory against V, a line a head, torch's in grey."""
    kinds = {"seconds": "seconds a step", "peak_mb": "growth of memory, MB"}
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
        for name, marker in zip(ALL, "os^DvP*os", strict=True):
            mine = [r for r in rows if r["head"] == name]
            ours = name in ALL[:-2]
            style = {"marker": marker, "color": colour(ALL.index(name)) if ours else "0.5"}
            style |= {"linestyle": "-" if ours else "--", "label": name}
            for ax, kind in zip(axes, kinds, strict=True):
                ax.plot([r["V"] for r in mine], [r[kind] or np.nan for r in mine], **style)
        for ax, label in zip(axes, kinds.values(), strict=True):
            ax.set(xlabel="vocabulary $V$", ylabel=label, xscale="log", yscale="log")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/heads")) -> None:
    """Measure, then write JSON, a table and a figure."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "heads.json"
    save = lambda rows: path.write_text(json.dumps(rows, indent=1))
    save([])
    try:
        run(cfg, save)
    except KeyboardInterrupt:
        console.print("interrupted: what was measured is kept")
    rows = json.loads(path.read_text())
    (out / "heads.md").write_text(table(rows))
    print(table(rows))
    figure(rows).savefig(out / "heads.png")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("["):  # one head, for `program`
        name, size, options = json.loads(sys.argv[1])
        print(json.dumps(one(name, size, Config(**options))))
    else:
        tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
