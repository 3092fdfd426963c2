"""Where our training step spends its time, from what XLA's CPU executor says that it runs.

    python benchmarks/cycles.py --works lstm gru --configs S M long L

A step is its loops over time and the rest, above all the products over all T. Every instant is
counted once: `products` while one at least runs, `other` while none does but something else, gates,
copies, what is put into memory, and `idle` while nothing does. `peak` is what the products would
take at the rate of jnp.dot on 2048 x 2048 matrices. All are milliseconds of a step, medians over
the traced steps; `seconds` is a step that is not traced. `cores` is how many operations run at a
time on average; a product that takes several cores counts as one.

In a loop `other` cannot be hidden behind products: the gates of a step need its product, the next
product the gates.

Rows go to cycles.json after every work, a table to cycles.md, a figure in % of the step to
cycles.png.
"""

import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from lmjax import plot
from lmjax.plot.style import colour, legend_above

sys.path.insert(0, str(Path(__file__).parent))

from works import BLOCKS, CONFIGS, WORKS, Size, gemm_peak, jax_step, measure, problem

KINDS = "products", "other", "idle"
PRODUCTS = "ynn", "dot"  # how the names of what multiplies matrices begin


@dataclass(frozen=True)
class Config:
    """What to trace."""

    works: tuple[str, ...] = ("lstm", "gru", "rnn")  # and gru-before: the cells alone
    configs: tuple[str, ...] = ("S",)  # S, M, L, long
    steps: int = 15


def trace(step) -> list[tuple[float, float, str]]:
    """Return what ran in a step: begin and end in ms, name."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level, options.host_tracer_level = 0, 2
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            step()
        [path] = Path(folder).rglob("*.xplane.pb")
        lines = [
            line
            for plane in jax.profiler.ProfileData.from_file(str(path)).planes
            for line in plane.lines
        ]
        events = [e for line in lines if line.name.startswith("tf_XLA") for e in line.events]
        inner = (
            "while",
            "call",
            "end: ",
            "Thunk",
            "Thread",
            "Slinky",
        )  # what holds others, and waits
        return [
            (e.start_ns / 1e6, (e.start_ns + e.duration_ns) / 1e6, e.name)
            for e in events
            if not e.name.startswith(inner)
        ]


def length(intervals) -> float:
    """Return how long one of the intervals at least lasts."""
    total, reached = 0.0, -np.inf
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def shares(events, begin, end) -> dict[str, float]:
    """Count every instant of an interval once, as `KINDS`, and what runs at a time."""
    inside = [(max(a, begin), min(b, end), name) for a, b, name in events if a < end and b > begin]
    products = length((a, b) for a, b, name in inside if name.startswith(PRODUCTS))
    busy = length((a, b) for a, b, _ in inside)
    cores = sum(b - a for a, b, _ in inside) / (end - begin)
    return {
        "products": products,
        "other": busy - products,
        "idle": end - begin - busy,
        "cores": cores,
    }


def loops(events, turns) -> list[tuple[float, float]]:
    """Return the begin and end of each loop: when products run that repeat once for each t."""
    by_name = defaultdict(list)
    for event in events:
        by_name[event[2]].append(event)
    found: list[tuple[float, float]] = []
    for same in sorted(by_name.values()):
        if same[0][2].startswith(PRODUCTS) and len(same) == turns:
            begin, end = same[0][0], max(b for _, b, _ in same)
            if found and begin < found[-1][1]:
                begin, end = found[-1][0], max(end, found.pop()[1])
            found.append((begin, end))
    return found


def attribute(work: str, size: Size, cfg: Config) -> list[dict]:
    """Return the rows of a work at a size: each loop, and the rest."""
    step, _ = jax_step("lmjax", problem(WORKS[work], size))
    seconds, traced = measure(step, 0.5)["seconds"], []
    for _ in track(
        range(cfg.steps), f"{work} {size}", console=Console(stderr=True), transient=True
    ):
        events = sorted(trace(step))
        spans = loops(events, size.T)
        if len(spans) != 2 * size.layers:
            names = sorted({name for _, _, name in events})
            raise RuntimeError(
                f"cycles: {2 * size.layers} loops with products {PRODUCTS} expected, ran: {names}"
            )
        parts = [shares(events, *span) for span in spans]
        whole = shares(events, events[0][0], max(end for _, end, _ in events))
        rest = {kind: whole[kind] - sum(p[kind] for p in parts) for kind in KINDS}
        outside = [
            name for t, _, name in events if not any(begin <= t < end for begin, end in spans)
        ]
        if any(
            name.startswith("dot") for name in outside
        ):  # Eigen goes on with these when their thunk has ended
            rest |= {"products": rest["products"] + rest["idle"], "idle": 0.0}
        traced.append([*parts, rest])
    names = [f"{way} {k + 1}" for way in ("forward", "backward") for k in range(size.layers)]
    once = (
        2 * size.B * size.T * len(BLOCKS[work]) * size.H**2 / gemm_peak() * 1e3
    )  # x W_x, or h W_h
    return [
        {"loop": name, "peak": once if name != "rest" else 4 * size.layers * once}
        | {kind: float(np.median([parts[k][kind] for parts in traced])) for kind in traced[0][k]}
        | {"seconds": seconds}
        for k, name in enumerate([*names, "rest"])
    ]


def table(rows: list[dict]) -> str:
    """Return the rows as Markdown."""
    head = (
        "work | config | part | ms | products | other | idle | products at the peak | "
        "step, not traced | cores"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for r in rows:
        ms = [
            sum(r[kind] for kind in KINDS),
            *(r[kind] for kind in KINDS),
            r["peak"],
            1e3 * r["seconds"],
        ]
        ms += [r["cores"]] if "cores" in r else []
        cells = [r["work"], r["config"], r["loop"], *(f"{x:.2f}" for x in ms)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(rows: list[dict]):
    """Draw each part of a step as a bar, with what its products would take at the peak."""
    whole: dict[tuple, float] = defaultdict(float)
    for r in rows:
        whole[r["work"], r["config"]] += sum(r[kind] for kind in KINDS)
    share = lambda kind: np.array([100 * r[kind] / whole[r["work"], r["config"]] for r in rows])
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(figsize=(7.5, 1.2 + 0.28 * len(rows)), layout="constrained")
        y, left = np.arange(len(rows))[::-1], np.zeros(len(rows))
        for k, kind in enumerate(KINDS):
            width = share(kind)
            axes.barh(y, width, 0.7, left, color=colour(k), label=kind)
            left += width
        axes.plot(share("peak"), y, "k|", ms=9, mew=1.5, label="products at the peak")
        axes.set(
            yticks=y,
            yticklabels=[f"{r['work']} {r['config']} {r['loop']}" for r in rows],
            xlabel="% of a step",
        )
        axes.margins(y=0.01)
        legend_above(axes)
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/cycles")) -> None:
    """Trace, then write JSON, a table and a figure.

    Args:
        cfg: what to trace.
        out: folder of the results.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for config in cfg.configs:
        for work in cfg.works:
            rows += [
                {"work": work, "config": config} | row
                for row in attribute(work, CONFIGS[config], cfg)
            ]
            (out / "cycles.json").write_text(json.dumps(rows, indent=1))
    (out / "cycles.md").write_text(table(rows))
    print(table(rows))
    figure(rows).savefig(out / "cycles.png")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
