"""How fast lmjax trains, beside torch, flax, haiku, equinox and keras.

Every number comes from a fresh process: a round visits every program of a work in turn, each
imports, builds, compiles (timed apart), warms up and times its steps for half a second; a ratio is
the peer's time over ours in the same round, so above 1 we are faster. What is computed, and how
that is checked, is said in works.py.

    python benchmarks/training.py --works lstm gru --configs S long --peers torch linen --rounds 5
    python benchmarks/training.py --growth --rounds 2   # time against T, B, H, layers, V
    JAX_PLATFORMS=cuda python benchmarks/training.py    # on an NVIDIA GPU, without gradient maps

Rows go to bench.json (after every round; an interrupted run keeps what it has), a table to
bench.md, a figure to bench.png. Libraries that are not installed are left out: `make peers` brings
all of them.

A row: `ratio` is the median over rounds, `low` and `high` the range (rows of gradient_map.py: the
quartiles, see `spread`); `seconds`, `peer_seconds` medians of a step; `peak_fraction` our share of
the peak of jnp.dot on 2048 x 2048 matrices (a GPU: 8192) measured in the same processes, counting
two operations for each multiply-add of the matrix products and three times the forward pass;
`peak_mb` the growth of resident memory, which is not a GPU's, from before the first step to its
highest (Linux), `temp_mb` what the compiled step says it works in; `loss_difference` and
`update_difference` compare with the peer, relatively, the loss before any update and the change of
the loss over two updates (on a GPU all multiply in TF32, of 11 bits). The peer "products alone" is
the bare matrix products of our step, in its loops: a peer below it is out of reach of any other
gates.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from lmjax import plot
from lmjax.plot.style import colour, legend_above
from lmjax.train.memory import GLIBC

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from works import ALL, CONFIGS, PEERS, WORKS, Size, flops, on_gpu  # noqa: E402

OTHERS = ("gradient-map", "import")
NAMES = {
    "linen": "flax linen",
    "nnx": "flax nnx",
    "generic": "lmjax generic",
    "scan": "lax.scan",
    "products": "products alone",
}
BASE = Size(16, 64, 128)
GROWTH = {
    "T": (32, BASE),
    "B": (8, BASE),
    "H": (64, BASE),
    "layers": (1, BASE),
    "V": (2000, BASE._replace(T=32)),
}
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Config:
    """What to measure."""

    works: tuple[str, ...] = ("lstm", "gru", "gru-before", "rnn", "lm-10k", *OTHERS)  # and lm-33k
    configs: tuple[str, ...] = ("S",)  # S, M, L, long
    peers: tuple[str, ...] = ALL
    rounds: int = 5
    seconds: float = 0.5  # of timed steps in each process
    keep_memory: bool = (
        False  # in every process, the peers' too (see `lmjax.train.keep_memory`); rows say "S kept"
    )


def child(*command: str) -> list[dict]:
    """Run a program in a fresh process; return the JSON lines it printed, none if it failed."""
    root = str(HERE.parent)
    env = {"JAX_PLATFORMS": "cpu"} | os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": root}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else every import of a library would parse it anew
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=env)
    if done.returncode:
        said = (done.stderr.strip() or "failed").splitlines()[-1]
        console.print(f"{' '.join(command)[:200]}\n  {said}", markup=False)
        return []
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def program(work: str, by: str, size: Size, seconds: float) -> list[dict]:
    """Time one program in a fresh process: one result, or none if it failed."""
    task = {"work": work, "by": by, "size": size._asdict(), "seconds": seconds}
    return child(str(HERE / "works.py"), json.dumps(task))


IMPORT = """
import json, time
begin = time.perf_counter()
{}
print(json.dumps({{"seconds": time.perf_counter() - begin}}))
"""


def installed(peers) -> tuple[str, ...]:
    """Return the peers that are installed, with a remark on the others."""
    found = []
    for peer in peers:
        if find_spec(PEERS[peer]):
            found.append(peer)
        else:
            console.print(f"{peer}: not installed, left out (`make peers` brings all)")
    return tuple(found)


def row(
    work: str,
    config: str,
    peer: str,
    ours: list[dict],
    theirs: list[dict],
    operations: float | None,
) -> dict:
    """Compare rounds of ours and a peer's."""
    times, peer_times = (np.array([r["seconds"] for r in results]) for results in (ours, theirs))
    ratios = peer_times / times

    def median(results, key):
        values = [r[key] for r in results if r.get(key) is not None]
        return float(np.median(values)) if values else None

    result = {
        "work": work,
        "config": config,
        "peer": NAMES.get(peer, peer),
        "ratio": float(np.median(ratios)),
    }
    result |= {
        "low": float(ratios.min()),
        "high": float(ratios.max()),
        "spread": "range",
        "rounds": len(ratios),
    }
    result |= {
        "peak_fraction": None,
        "peak_mb": median(ours, "peak_mb"),
        "peer_peak_mb": median(theirs, "peak_mb"),
    }
    result |= {"seconds": median(ours, "seconds"), "peer_seconds": median(theirs, "seconds")}
    for key in ("compile_seconds", "temp_mb"):
        result |= {key: median(ours, key), f"peer_{key}": median(theirs, key)}
    if operations:
        fractions = [operations / r["seconds"] / r["gemm_flops"] for r in ours]
        result |= {
            "peak_fraction": float(np.median(fractions)),
            "gemm_flops": median(ours, "gemm_flops"),
        }
    if operations and "losses" in theirs[0]:
        (a, a_last), (b, b_last) = (np.array(r[0]["losses"])[[0, -1]] for r in (ours, theirs))
        result["loss_difference"] = float(abs(a - b) / abs(a))
        result["update_difference"] = float(abs((a_last - a) - (b_last - b)) / abs(a_last - a))
    result |= {
        "versions": ours[0].get("versions", {}) | theirs[0].get("versions", {}),
        "cores": os.cpu_count(),
    }
    result |= {"seconds_by_round": times.tolist(), "peer_seconds_by_round": peer_times.tolist()}
    result |= {"machine": platform.machine(), "device": ours[0].get("device")}
    return result | {"date": datetime.now(UTC).strftime("%Y-%m-%d")}


@contextmanager
def progress(total: int):
    """Yield `advance(what)`, which moves a bar on a terminal."""
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda what: bar.update(task, description=what, advance=1)


def interleaved(programs: dict[str, Callable], rounds: int, advance):
    """Run every program once a round, each time from another on; yield all results after each."""
    results: dict[str, list] = {by: [] for by in programs}
    names = list(programs)
    for k in range(rounds):
        for by in names[k % len(names) :] + names[: k % len(names)]:
            results[by].append(programs[by]())
            advance()
        yield results


def pairs(work, config, results, operations) -> list[dict]:
    """Return a row for each peer, over the rounds in which both it and ours ended well."""
    rows = []
    for peer in (by for by in results if by != "lmjax"):
        both = [
            (a[0], b[0]) for a, b in zip(results["lmjax"], results[peer], strict=True) if a and b
        ]
        if both:
            rows.append(row(work, config, peer, *map(list, zip(*both, strict=True)), operations))
    return rows


def run(cfg: Config, save: Callable[[list[dict]], None] = lambda rows: None) -> list[dict]:
    """Measure, handing all rows so far to `save` after every round."""
    unknown = (
        {*cfg.works} - {*WORKS, *OTHERS} | {*cfg.configs} - {*CONFIGS} | {*cfg.peers} - {*PEERS}
    )
    if unknown:
        known = f"works {[*WORKS, *OTHERS]}, configs {[*CONFIGS]}, peers {[*PEERS]}"
        raise ValueError(f"training: unknown {sorted(unknown)}; there are {known}")
    if cfg.keep_memory:
        os.environ.update({name: str(value) for name, (_, value) in GLIBC.items()})
    peers, cases = installed(cfg.peers), {}
    for name in (w for w in cfg.works if w in WORKS):
        for config in cfg.configs:
            by = ("lmjax", *(p for p in WORKS[name].peers if p in peers))
            size = CONFIGS[config]
            programs = {p: partial(program, name, p, size, cfg.seconds) for p in by}
            label = f"{config} kept" if cfg.keep_memory else config
            cases[name, label] = programs, None if WORKS[name].head else flops(WORKS[name], size)
    if "import" in cfg.works:
        rooms = "from lmjax import analysis, cells, data, decoding, metrics, models, plot, train"
        for config, ours in {"package": "import lmjax", "rooms": rooms}.items():
            code = {"lmjax": ours, "jax": "import jax"}
            cases["import", config] = (
                {k: partial(child, "-c", IMPORT.format(v)) for k, v in code.items()},
                None,
            )

    rows: list[dict] = []
    with progress(cfg.rounds * sum(len(programs) for programs, _ in cases.values())) as advance:
        for (name, config), (programs, operations) in cases.items():
            done = len(rows)
            for results in interleaved(programs, cfg.rounds, partial(advance, f"{name} {config}")):
                rows[done:] = pairs(name, config, results, operations)
                save(rows)
            for r in rows[done:]:
                span = f"{r['low']:.2f} to {r['high']:.2f}"
                console.print(
                    f"{name:10} {config:7} {r['peer']:13} {r['ratio']:8.2f}  {span}", markup=False
                )
    if "gradient-map" in cfg.works:
        console.print("gradient-map ...")
        ways = ["--torch", "loop", "is_grads_batched"] if "torch" in peers and not on_gpu() else []
        rows += child(str(HERE / "gradient_map.py"), "--rounds", str(cfg.rounds), *ways)
        save(rows)
    return rows


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table."""

    def cell(value, form):
        return "" if value is None else f"{value:{form}}"

    head = "work | config | peer | ratio | range | ours ms | peer ms | of GEMM peak"
    head += " | ours MB | peer MB"
    head += " | ours temp MB | peer temp MB | loss differs"
    lines = [f"| {head} |", "|" + "---|" * len(head.split("|"))]
    for r in rows:
        cells = [
            r["work"],
            r["config"],
            r["peer"],
            f"{r['ratio']:.2f}",
            f"{r['low']:.2f} to {r['high']:.2f}",
        ]
        cells += [cell(r[k] and r[k] * 1e3, ".1f") for k in ("seconds", "peer_seconds")]
        cells += [
            cell(r["peak_fraction"], ".0%"),
            cell(r["peak_mb"], ".0f"),
            cell(r["peer_peak_mb"], ".0f"),
        ]
        cells += [cell(r.get("temp_mb"), ".0f"), cell(r.get("peer_temp_mb"), ".0f")]
        lines.append(f"| {' | '.join([*cells, cell(r.get('loss_difference'), '.0e')])} |")
    note = "Ratio: the peer's time over ours in the same round, median; above 1, lmjax is faster."
    return "\n".join([note, "", *lines, ""])


def figure(rows: list[dict]):
    """Draw every ratio of training steps with its range, one group a work."""
    rows = [r for r in rows if r["work"] in WORKS]
    groups = list(dict.fromkeys((r["work"], r["config"]) for r in rows))
    peers = list(dict.fromkeys(r["peer"] for r in rows))
    with plt.style.context(plot.STYLE):
        fig, ax = plt.subplots(figsize=(7.5, 1.4 + 0.15 * (len(rows) + len(groups))))
        place, ticks = 0.0, []
        for group in groups:
            here = [r for r in rows if (r["work"], r["config"]) == group]
            ticks.append(place + (len(here) - 1) / 2)
            for k, r in enumerate(here):
                index = peers.index(r["peer"])
                error = [[r["ratio"] - r["low"]], [r["high"] - r["ratio"]]]
                label = r["peer"] if r["peer"] not in ax.get_legend_handles_labels()[1] else None
                style = {
                    "color": colour(index) if index < 7 else ("0.4", "0.7")[index - 7],
                    "fmt": "osD^vP*Xp"[index],
                }
                style |= {"linestyle": "", "capsize": 2, "elinewidth": 1}
                ax.errorbar(r["ratio"], place + k, xerr=error, label=label, **style)
            place += len(here) + 1
        ax.axvline(1, color="0.3", linestyle="-", linewidth=1)
        ax.set(xscale="log", xlabel="time of the peer / time of lmjax", ylim=(place - 1, -1))
        ax.set_yticks(ticks, [" ".join(group) for group in groups])
        ax.xaxis.set_major_locator(
            FixedLocator([0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50])
        )
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:g}")
        legend_above(ax)
    return fig


def grow(cfg: Config, save: Callable[[list[dict]], None] = lambda rows: None) -> list[dict]:
    """Time our LSTM step against each size alone, in fresh processes, and fit exponents."""
    curves: list[dict] = []
    with progress(cfg.rounds * 5 * len(GROWTH)) as advance:
        for name, (first, base) in GROWTH.items():
            done = len(curves)
            values = [first * 2**k for k in range(5)]
            work = "lm-10k" if name == "V" else "lstm"
            sizes = {str(v): base._replace(**{name: v}) for v in values}
            programs = {
                v: partial(program, work, "lmjax", size, cfg.seconds) for v, size in sizes.items()
            }
            for results in interleaved(programs, cfg.rounds, partial(advance, f"growth in {name}")):
                seconds = [
                    [r["seconds"] for found in results[str(v)] for r in found] for v in values
                ]
                if not all(seconds):
                    continue
                middle = np.array([np.median(s) for s in seconds])
                exponent = float(np.polyfit(np.log(values), np.log(middle), 1)[0])
                curve = {
                    "size": name,
                    "base": base._asdict(),
                    "values": values,
                    "seconds": middle.tolist(),
                }
                curves[done:] = [curve | {"seconds_by_round": seconds, "exponent": exponent}]
                save(curves)
            for curve in curves[done:]:
                console.print(f"time ~ {name}^{curve['exponent']:.2f}", markup=False)
    return curves


def growth_figure(curves: list[dict]):
    """Draw the time of a step against each size, with its fitted power."""
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(1, len(curves), figsize=(3 * len(curves), 3.2), squeeze=False)
        for ax, curve in zip(axes[0], curves, strict=True):
            values, seconds = np.array(curve["values"]), np.array(curve["seconds"]) * 1e3
            scale = np.exp(np.mean(np.log(seconds) - curve["exponent"] * np.log(values)))
            label = rf"$\propto \mathrm{{{curve['size']}}}^{{{curve['exponent']:.2f}}}$"
            ax.plot(values, seconds, "o", color=colour(0))
            ax.plot(values, scale * values ** curve["exponent"], "--", color=colour(1), label=label)
            ax.set(xscale="log", yscale="log", xlabel=curve["size"], ylabel="ms a step")
            ax.set_xticks(values, [f"{v:g}" for v in values])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("")
            ax.legend()
    return fig


def main(
    cfg: Config = Config(), out: Path = Path("out/bench"), keep: bool = False, growth: bool = False
) -> None:
    """Measure, then write JSON, a table and a figure.

    Args:
        cfg: what to measure.
        out: folder of the results.
        keep: keep what the file already has of other works, configs and peers.
        growth: time our own step against T, B, H, layers and V instead (growth.json, growth.png).
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("growth.json" if growth else "bench.json")
    before = json.loads(path.read_text()) if keep and path.exists() else []
    key = lambda r: [r.get(k) for k in ("work", "config", "peer", "size")]

    def save(rows):
        new = [key(r) for r in rows]
        path.write_text(json.dumps([r for r in before if key(r) not in new] + rows, indent=1))

    save([])
    try:
        (grow if growth else run)(cfg, save)
    except KeyboardInterrupt:
        console.print("interrupted: what was measured is kept")
    results = json.loads(path.read_text())
    if growth and results:
        growth_figure(results).savefig(out / "growth.png")
    elif not growth:
        (out / "bench.md").write_text(table(results))
        print(table(results))
        if any(r["work"] in WORKS for r in results):
            figure(results).savefig(out / "bench.png")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
