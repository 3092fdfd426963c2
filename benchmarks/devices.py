"""What each device of the recurrence buys alone, both ways: everything but it, and nothing but it.

    python benchmarks/devices.py --work lstm-S gru-S rnn-S --rounds 7 --out out/devices.json

A step is the gradient of the parameters and of the inputs (and the forward pass before it), in
float32, on the sizes of `works.py`. A variant is compiled with some devices replaced by plain JAX;
all variants are then timed in turn, in a random order, in one process. Every variant's gradient is
checked against that of `scan`. The table is of medians, relative to the whole schedule.
"""

import argparse
import json
import random
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from works import CONFIGS

import lmjax.cells as cells
import lmjax.unroll as recurrence
from lmjax.train import keep_memory
from lmjax.unroll import residuals
from lmjax.unroll.backward import PLAIN
from lmjax.unroll.cpu import CPU

SCHEDULED = {  # device: field of the schedule
    "encode in the step": "arrange",
    "weights transposed once": "prepare",
    "operands of products swapped": "linear_transpose",
}
RECOMPUTED = "cheap residuals recomputed"
DEVICES = {*SCHEDULED, RECOMPUTED}
VARIANTS = {  # name: the devices that are on
    "all": DEVICES,
    **{f"all but {device}": DEVICES - {device} for device in sorted(DEVICES)},
    "nothing": set(),
    **{f"nothing but {device}": {device} for device in sorted(DEVICES)},
}
WORKS = [
    f"{cell}-{size}" for cell in ("lstm", "gru_reset_after") for size in ("S", "M", "long", "L")
]


def choose(devices: set) -> None:
    """Let what is traced from now on use these devices alone."""
    fields = {field: getattr(CPU, field) for name, field in SCHEDULED.items() if name in devices}
    recurrence.SCHEDULES["cpu"] = PLAIN._replace(**fields)
    residuals.CHEAP = CHEAP if RECOMPUTED in devices else frozenset()
    jax.clear_caches()


CHEAP = residuals.CHEAP


def program(work: str, run):
    """Compile the gradient of a stack; return () -> its value and gradients."""
    kind, _, name = work.rpartition("-")
    size = CONFIGS[name]
    cell = cells.stack(*[cells.CELLS[kind](size.H, size.H)] * size.layers)
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (size.T, size.B, size.H))

    def loss(params, xs):
        state = cell.initial_state(params, (size.B,))
        ys = cell.read(params, run(cell, params, state, xs)[1])
        return jnp.sum((ys - 0.25) ** 2) / size.B

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, xs).compile()
    return lambda: jax.block_until_ready(step(params, xs))


def check(found, expected) -> None:
    """Raise an error where gradients differ by more than float32's rounding over time."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()))


def measure(work: str, rounds: int, rng: random.Random) -> dict[str, float]:
    """Return the median seconds of a step by variant."""
    steps = {"autodiff of a scan": program(work, recurrence.scan)}
    for name, devices in VARIANTS.items():
        choose(devices)
        steps[name] = program(work, recurrence.unroll)
    expected = steps["autodiff of a scan"]()
    for step in steps.values():
        check(step(), expected)
    times: dict[str, list] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in rng.sample(list(steps.items()), len(steps)):
            begin = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def main():
    """Measure, print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", nargs="+", default=WORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/devices.json"))
    options = parser.parse_args()
    keep_memory()  # else a step pays for the pages that the one before gave back
    rng, begin = random.Random(0), time.strftime("%Y-%m-%d %H:%M")
    result = {"jax": jax.__version__, "begin": begin, "rounds": options.rounds, "works": {}}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for work in options.work:
        medians = result["works"][work] = measure(work, options.rounds, rng)
        print(f"{work}: 1 = {1e3 * medians['all']:.1f} ms", flush=True)
        for name, seconds in medians.items():
            print(f"  {seconds / medians['all']:5.2f}  {name}", flush=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
