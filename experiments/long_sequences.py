"""Memory and time of a training step against the sequence's length T, with and without segments.

Backpropagation keeps what every step needs on its way back. With segments of sqrt(T) steps only the
state at the start of each is kept, and the rest is computed again, one segment at a time. A
character model is trained on one sequence of T characters a step, in a process of its own for each
T; with segments, one that may not use more memory than `limit` (on Linux).
"""

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from math import isqrt
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import cells, data, models, plot, train


@dataclass(frozen=True)
class Config:
    cells: tuple[str, ...] = ("rnn", "lstm")
    n: int = 128
    batch_size: int = 1
    lengths: tuple[int, ...] = (1024, 4096, 16384, 65536)
    steps: int = 5  # after the first
    limit: float = 2.0  # GB that a process with segments may allocate


FAST = Config(cells=("rnn",), n=4, lengths=(16,), steps=1)
VOCAB = 64


def measure(cfg: Config, cell: str, length: int, segment: int | None) -> dict:
    """Take some training steps; return the seconds of one, its memory, and the losses."""
    if segment is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (int(cfg.limit * 1e9),) * 2)
    lm = models.recurrent(
        cells.CELLS[cell](cfg.n, cfg.n),
        vocab_size=VOCAB,
        segment=segment,
    )
    transform = train.optimizer(learning_rate=1e-2)
    state = train.init_state(lm, transform, jax.random.key(0), cfg.batch_size)
    text = np.frombuffer(json.__doc__.encode(), np.uint8) % VOCAB  # any text will do
    text = np.resize(text, cfg.batch_size * length)
    batch = next(data.contiguous(text, batch_size=cfg.batch_size, seq_len=length, start=0))
    step = (
        jax.jit(partial(train.step, lm, transform), donate_argnums=0).lower(state, batch).compile()
    )
    memory, seconds, losses = step.memory_analysis(), [], []
    for _ in range(cfg.steps + 1):
        begin = time.perf_counter()
        state, metrics = step(state, batch)
        losses.append(float(metrics.loss))
        seconds.append(time.perf_counter() - begin)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": float(np.median(seconds[1:])),
        # bytes of the compiled step
        "program": memory.temp_size_in_bytes + memory.argument_size_in_bytes,
        "process": peak,  # bytes at most, Python and JAX included
        "losses": losses,
    }


def measure_apart(*args) -> dict:
    """Run `measure` in a process of its own: a peak of memory never falls."""
    code = "import json, runpy, sys; m = runpy.run_path(sys.argv[1])"
    code += "; cfg, *rest = json.loads(sys.argv[2])"
    code += "; print(json.dumps(m['measure'](m['Config'](**cfg), *rest)))"
    command = [sys.executable, "-c", code, __file__, json.dumps(args)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def run(cfg: Config) -> dict:
    rows = []
    for cell in cfg.cells:
        for length in cfg.lengths:
            for segment in (None, isqrt(length)):
                row = measure_apart(asdict(cfg), cell, length, segment)
                rows.append({"cell": cell, "length": length, "segment": segment, **row})
    return {"config": asdict(cfg), "rows": rows}


def figure(result: dict):
    """Draw memory and time against T, one line a cell and way."""
    with plt.style.context(plot.STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for panel, name, scale in zip(panels, ("program", "seconds"), (1e6, 1), strict=True):
            for color, cell in zip(("C0", "C1"), result["config"]["cells"], strict=False):
                for whole in (True, False):
                    rows = [
                        r
                        for r in result["rows"]
                        if r["cell"] == cell and (r["segment"] is None) == whole
                    ]
                    kept = "every step kept" if whole else r"segments of $\sqrt{T}$"
                    label = f"{cell}, {kept}"
                    x, y = [r["length"] for r in rows], [r[name] / scale for r in rows]
                    panel.loglog(
                        x, y, marker="o", color=color, ls="-" if whole else "--", label=label
                    )
            panel.set_xlabel("T")
        panels[0].set_ylabel("memory of a training step (MB)")
        panels[1].set_ylabel("time of a training step (s)")
        panels[0].legend()
    return figure


def main(cfg: Config = Config(), out: Path = Path("out/long_sequences")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    result = run(cfg)
    (out / "long_sequences.json").write_text(json.dumps(result))
    for r in result["rows"]:
        print(
            f"{r['cell']} T {r['length']} segment {r['segment']}: {r['program'] / 1e6:.0f} MB, "
            f"{r['seconds']:.2f} s a step; process {r['process'] / 1e9:.2f} GB; "
            f"loss {r['losses'][0]:.2f} to {r['losses'][-1]:.2f}"
        )
    figure(json.loads((out / "long_sequences.json").read_text())).savefig(
        out / "long_sequences.png"
    )
    plt.close("all")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
