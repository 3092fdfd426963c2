"""What the gradient diagnoses cost, next to one `jax.grad` and to torch.autograd's ways.

Every round times every way once, one after the other, so that they share what else the machine
does. A row is one comparison, as JSON: `ratio` is the median over rounds of the peer's time / our
time (above 1, ours is faster), `low` and `high` are its quartiles; `peak_mb` is the temporary
memory of our compiled program, `peer_peak_mb` the peer's: the same for a JAX peer, for torch the
growth of a fresh process (Linux). `benchmarks/training.py` runs this as one of its works.

    python benchmarks/gradient_map.py --cell rnn --n 512 --length 256 --rounds 7
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lmjax import analysis, cells
from lmjax.unroll import scan, unroll

TORCH = ("loop", "is_grads_batched", "functional.jacobian")


def squared_error(cell):
    """A loss of one step that costs next to nothing."""
    return lambda params, state, y: jnp.sum((cell.read(params, state) - y) ** 2)


def jax_ways(kind, n, length, max_lag):
    """Compiled programs by name, each with its temporary memory in MiB."""
    cell = getattr(cells, kind)(n, n)
    keys = jax.random.split(jax.random.key(0), 3)
    params, xs, ys = cell.init(keys[0]), *(jax.random.normal(k, (length, n)) for k in keys[1:])
    state, loss = cell.initial_state(params), squared_error(cell)

    def total(run):
        return lambda p, xs, ys: jnp.sum(
            jax.vmap(loss, (None, 0, 0))(p, run(cell, p, state, xs)[1], ys)
        )

    def diagnosis(f, **options):
        return lambda p, xs, ys: f(cell, p, state, xs, loss, ys, **options)

    def bare_sweep(p, xs, ys):
        """The products and slopes that a vanilla cell's band needs, and nothing else."""
        _, h = scan(cell, p, state, xs)
        first = jnp.ones((max_lag + 1, n))
        return jax.lax.scan(
            lambda cts, h: ((cts * (1 - h**2)) @ p.w_h.T, None), first, h, reverse=True
        )[0]

    programs = {
        "jax.grad, lmjax unroll": jax.grad(total(unroll)),
        "jax.grad, lax.scan": jax.grad(total(scan)),
        "all-pairs map": diagnosis(analysis.state_gradient_map),
        "8 sampled targets": diagnosis(
            analysis.state_gradient_map, targets=jnp.linspace(0, length - 1, 8).astype(int)
        ),
        f"band, lag {max_lag}": diagnosis(analysis.state_gradient_band, max_lag=max_lag),
        "contributions": diagnosis(analysis.bptt_contributions),
        "profile": diagnosis(analysis.state_gradients),
    }
    if kind == "rnn":
        programs[f"bare sweep of {max_lag + 1} rows"] = bare_sweep
    compiled = {name: jax.jit(f).lower(params, xs, ys).compile() for name, f in programs.items()}
    ways = {
        name: lambda f=f: jax.block_until_ready(f(params, xs, ys)) for name, f in compiled.items()
    }
    memory = {name: f.memory_analysis().temp_size_in_bytes / 2**20 for name, f in compiled.items()}
    return ways, memory, (params, xs, ys)


def torch_ways(params, xs, ys):
    """The map of a vanilla cell, three ways; each returns the norms [i, j]."""
    import torch

    (w_x, w_h, b), xs, ys = (
        jax.tree.map(lambda a: torch.from_numpy(np.array(a)).requires_grad_(), tree)
        for tree in (tuple(params), xs, ys)
    )
    length, n = ys.shape

    def losses(shifts=None):
        h, states, terms = torch.zeros(n), [], []
        inputs = xs @ w_x + b
        for t in range(length):
            h = torch.tanh(inputs[t] + h @ w_h)
            h = h if shifts is None else h + shifts[t]
            states.append(h)
            terms.append(((h - ys[t]) ** 2).sum())
        return states, torch.stack(terms)

    def loop():
        states, terms = losses()
        norms = torch.zeros(length, length)
        for i in range(length):
            gradients = torch.autograd.grad(terms[i], states[: i + 1], retain_graph=True)
            norms[i, : i + 1] = torch.stack(gradients).norm(dim=1)
        return norms

    def batched():
        states, terms = losses()
        gradients = torch.autograd.grad(terms, states, torch.eye(length), is_grads_batched=True)
        return torch.stack([g.norm(dim=1) for g in gradients], dim=1)

    def functional():
        jacobian = torch.autograd.functional.jacobian(
            lambda e: losses(e)[1], torch.zeros(length, n)
        )
        return jacobian.norm(dim=2)

    return dict(zip(TORCH, (loop, batched, functional), strict=True))


def peak_growth(way, n, length):
    """Growth in MiB of a fresh process that runs one of torch's ways once."""
    arguments = [sys.executable, __file__, "--peak", way, "--n", str(n), "--length", str(length)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def print_peak(way, n, length):
    """Run one of torch's ways once, in this process, and print by how much its memory grew."""
    arrays = [
        np.random.default_rng(0).normal(size=s).astype("f")
        for s in ((n, n), (n, n), (n,), (length, n), (length, n))
    ]
    f = torch_ways(arrays[:3], *arrays[3:])[way]
    status = lambda field: (
        int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024
    )
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = status("VmRSS")
    f()
    print(status("VmHWM") - before)


def main():
    """Time every way in turn, and print a row for each comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell", default="rnn", choices=("rnn", "lstm", "gru"))
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--max-lag", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--torch", nargs="*", default=[], choices=TORCH, help="ways of torch to time as well"
    )
    parser.add_argument("--peak", choices=TORCH, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        return print_peak(args.peak, args.n, args.length)

    ways, memory, arrays = jax_ways(args.cell, args.n, args.length, args.max_lag)
    ours = [name for name in ways if not name.startswith(("jax.grad", "bare"))]
    if args.torch:
        if args.cell != "rnn":
            parser.error("torch's ways are written out for the vanilla cell: --cell rnn")
        available = torch_ways(*arrays)
        expected = np.exp(ways["all-pairs map"]().log_norm)
        for name in args.torch:
            np.testing.assert_allclose(
                np.tril(available[name]().detach().numpy()), expected, rtol=1e-3, atol=1e-20
            )
            ways[f"torch {name}"] = available[name]
            memory[f"torch {name}"] = peak_growth(name, args.n, args.length)

    seconds = {name: [] for name in ways}
    for _ in range(args.rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    seconds = {name: times[1:] for name, times in seconds.items()}  # the first round warms up

    common = {
        "config": f"{args.cell} n{args.n} T{args.length}",
        "rounds": args.rounds,
        "spread": "quartiles",
    }
    for work in ours:
        for peer in (name for name in ways if name not in ours):
            only = {"torch": "all-pairs map", "bare": "band"}.get(peer.split()[0], "")
            if not work.startswith(only):
                continue
            ratios = np.array(seconds[peer]) / np.array(seconds[work])
            low, ratio, high = np.quantile(ratios, (0.25, 0.5, 0.75)).round(4).tolist()
            row = {"work": work, "peer": peer, "ratio": ratio, "low": low, "high": high} | common
            row |= {
                f"{k}seconds": float(np.median(seconds[way]))
                for k, way in (("", work), ("peer_", peer))
            }
            row |= {
                "peak_fraction": None,
                "peak_mb": round(memory[work], 2),
                "peer_peak_mb": round(memory[peer], 2),
            }
            print(json.dumps(row | {"versions": {"jax": jax.__version__}, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
