"""What each device of the recurrence buys alone, both ways: everything but it, and nothing but it.

    python benchmarks/devices.py --work lstm-S gru-S --rounds 7 --out out/devices.json

A variant is a copy of the package in which some lines are replaced, so that one device does nothing; all copies are
imported into one process under names of their own and timed in turn, in a random order. A step is the gradient of
the parameters and of the inputs (and the forward pass before it), in float32, on the sizes of `works.py`. Every
variant's gradient is checked against that of `scan`. The table is of medians, relative to the first variant.
"""

import argparse
import importlib
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from works import CONFIGS

from lmjax.train import keep_memory

PACKAGE = Path(__file__).parents[1] / "lmjax"
OFF = {  # device: what is replaced, where it stands, by what
    "halves of the batch": [("maps", "if lanes < 2 or weights >= FEW:", "if True:")],
    "widened weights": [
        ("maps", "return jnp.pad(w, ((0, 0), (0, more))) if 0 < more <= n / 4 else w", "return w")
    ],
    "ordering tokens": [
        ("maps", "sum(s[0, 0] > jnp.inf for s in jax.tree.leaves(now))", "0"),
        ("maps", "sum(s[0, 0] > jnp.inf for s in jax.tree.leaves(ct)) if waits else 0", "0"),
        ("jaxprs", "if fewest and v in operands", "if False"),
    ],
    "cut at the last product": [("jaxprs", "    for v in products:\n", "    for v in ():\n")],
    "products on the left": [
        ("maps", "    dot, n = dot or", "    left = False\n    dot, n = dot or")
    ],
    "states kept once": [("cell", "for v in along if v not in (*old, *new)]", "for v in along]")],
    "recomputed residuals": [
        (
            "jaxprs",
            "keep = dict.fromkeys(_variables(names))\n",
            "return list(dict.fromkeys(_variables(names))), []\n",
        )
    ],
    "declared maps": [("cell", "if cell.maps and", "if False and")],
}
DEVICES = list(OFF)
ANY = ["declared maps"]
WORKS = [f"{cell}-{size}" for cell in ("lstm", "gru") for size in ("S", "M", "long", "L")]
VARIANTS = {  # name: the devices that are off
    "all": [],
    **{f"all but {d}": [d] for d in DEVICES[:3] + DEVICES[4:5] + ANY},
    **{f"any cell, all but {d}": [d, *ANY] for d in DEVICES[:-1]},
    "nothing": DEVICES,
    **{f"nothing but {d}": [other for other in DEVICES if other != d] for d in DEVICES},
}


def load(folder: Path, number: int, off: list[str]):
    """Import a copy of the package without some devices; return its `unroll` and `scan`."""
    name = f"lmjax_{number}"
    copy = Path(
        shutil.copytree(PACKAGE, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    )
    for device in off:
        for module, old, new in OFF[device]:
            path = copy / f"{module}.py"
            text = path.read_text()
            if old not in text:
                raise ValueError(f"{device}: {module}.py has no line {old!r}")
            path.write_text(text.replace(old, new))
    for path in copy.rglob("*.py"):
        path.write_text(path.read_text().replace("lmjax", name))
    return importlib.import_module(f"{name}.cell"), importlib.import_module(f"{name}.cells")


def program(work: str, size, cell_module, cells, run: str):
    """Compile the gradient of a stack; return () -> its value and gradients."""
    make = {"lstm": cells.lstm, "gru": lambda n_in, n: cells.gru(n_in, n, reset_after=True)}[work]
    cell = cells.stack(*[make(size.H, size.H)] * size.layers)
    params, xs = (
        cell.init(jax.random.key(0)),
        jax.random.normal(jax.random.key(1), (size.T, size.B, size.H)),
    )

    def loss(params, xs):
        ys = cell.read(
            params,
            getattr(cell_module, run)(cell, params, cell.initial_state(params, (size.B,)), xs)[1],
        )
        return jnp.sum((ys - 0.25) ** 2) / size.B

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, xs).compile()
    return lambda: jax.block_until_ready(step(params, xs))


def main():
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", nargs="+", default=WORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="variants to measure")
    parser.add_argument("--out", type=Path, default=Path("out/devices.json"))
    options = parser.parse_args()
    keep_memory()  # as our commands do: else a step pays for the pages that the one before gave back
    rng = random.Random(0)
    result = {
        "jax": jax.__version__,
        "begin": time.strftime("%Y-%m-%d %H:%M"),
        "rounds": options.rounds,
        "works": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        modules = {
            name: load(Path(folder), k, VARIANTS[name]) for k, name in enumerate(options.only)
        }
        for work in options.work:
            kind, size = work.rsplit("-", 1)
            steps = {
                "autodiff of a scan": program(kind, CONFIGS[size], *modules["nothing"], "scan")
            }
            steps |= {
                name: program(kind, CONFIGS[size], *of_name, "unroll")
                for name, of_name in modules.items()
            }
            expected = steps["autodiff of a scan"]()
            times = {name: [] for name in steps}
            for name, step in steps.items():
                for a, b in zip(jax.tree.leaves(step()), jax.tree.leaves(expected), strict=True):
                    np.testing.assert_allclose(
                        a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()), err_msg=name
                    )
            for _ in range(options.rounds):
                for name, step in rng.sample(list(steps.items()), len(steps)):
                    begin = time.perf_counter()
                    step()
                    times[name].append(time.perf_counter() - begin)
            median = {name: float(np.median(t)) for name, t in times.items()}
            base = median["all"] if "all" in median else min(median.values())
            result["works"][work] = median
            print(f"{work}: 1 = {1e3 * base:.1f} ms", flush=True)
            for name, seconds in median.items():
                print(f"  {seconds / base:5.2f}  {name}", flush=True)
            del steps
            jax.clear_caches()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
