"""What does it cost to watch gradients while training? The time of a step, by how often one looks.

An LSTM is trained on the adding problem, first without a monitor, then with one that takes the
spectral radius of every block of W_h, the profile of dJ/ds_t over all T steps and the forget gates'
time constants, at every k-th step inside the compiled loop. The runs are interleaved, and each time
is the best of its rounds.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
import tyro

from lmjax import analysis, cells, plot
from lmjax.data import tasks
from lmjax.unroll import unroll


@dataclass(frozen=True)
class Config:
    every: tuple[int, ...] = (1, 10, 50)  # k
    n: int = 64
    length: int = 64
    batch_size: int = 32
    watched: int = 4  # sequences of the batch that the diagnoses see
    steps: int = 50
    rounds: int = 8


FAST = Config(every=(5,), n=4, length=8, batch_size=4, watched=2, steps=10, rounds=1)


def run(cfg: Config) -> dict:
    task = tasks.adding(cfg.length)
    cell = cells.lstm(task.n_in, cfg.n)
    opt = optax.chain(analysis.clip_by_global_norm(1.0), optax.adam(1e-3))

    def loss(params, sample):
        xs, ys = sample
        _, states = unroll(
            cell, params["cell"], cell.initial_state(params["cell"], xs.shape[1:2]), xs
        )
        return task.loss(cell.read(params["cell"], states) @ params["w"], ys)

    def profile(params, xs, ys):
        at_last = lambda params, state, y: y * (cell.read(params, state)).sum(-1)
        weight = jnp.zeros(xs.shape[:2]).at[-1].set(ys)
        state = cell.initial_state(params["cell"], xs.shape[1:2])
        return analysis.state_gradients(cell, params["cell"], state, xs, at_last, weight).log_total

    def time_constants(params, xs, ys):
        gates = analysis.gate_values(
            cell, params["cell"], cell.initial_state(params["cell"], xs.shape[1:2]), xs
        )
        return analysis.time_constants(gates["f"])

    diagnostics = {
        "radius": lambda params, xs, ys: (
            analysis.recurrent_spectrum(params["cell"].w_h).spectral_radius
        ),
        "profile": profile,
        "time constants": time_constants,
    }

    def trainer(every):
        watch = analysis.monitor(diagnostics, every=every or 1)

        def step(carry, key):
            params, state, seen = carry
            xs, ys = task.sample(key, cfg.batch_size)
            value, gradient = jax.value_and_grad(loss)(params, (xs, ys))
            if every:
                seen = watch.update(seen, params, xs[:, : cfg.watched], ys[: cfg.watched])
            updates, state = opt.update(gradient, state)
            return (optax.apply_updates(params, updates), state, seen), value

        params = {"cell": cell.init(jax.random.key(0)), "w": jnp.zeros((cfg.n, 1))}
        xs, ys = task.sample(jax.random.key(1), cfg.watched)
        carry = params, opt.init(params), watch.init(params, xs, ys)
        keys = jax.random.split(jax.random.key(2), cfg.steps)
        return jax.jit(lambda: jax.lax.scan(step, carry, keys)).lower().compile()

    trainers = {every: trainer(every) for every in (0, *cfg.every)}
    times = dict.fromkeys(trainers, float("inf"))
    for _ in range(cfg.rounds):
        for every, train in trainers.items():
            begin = time.perf_counter()
            jax.block_until_ready(train())
            times[every] = min(times[every], (time.perf_counter() - begin) / cfg.steps)
    return {
        "config": asdict(cfg),
        "plain": times.pop(0),
        "every": list(times),
        "watched": list(times.values()),
    }


def figure(result: dict):
    with plt.style.context(plot.STYLE):
        fig, ax = plt.subplots()
        ax.plot(result["every"], [t / result["plain"] for t in result["watched"]], "o-")
        ax.axhline(1, color="0.4", linestyle=":")
        ax.set(
            xlabel="diagnosed at every $k$-th step",
            ylabel="time of a step / without monitor",
            xscale="log",
        )
        ax.set_xticks(result["every"], [str(every) for every in result["every"]])
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/monitoring")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "monitoring.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "monitoring.json").read_text())
    figure(result).savefig(out / "monitoring.png")
    print(f"without a monitor: {1e3 * result['plain']:.2f} ms a step")
    for every, t in zip(result["every"], result["watched"], strict=True):
        print(f"every {every}: {1e3 * t:.2f} ms a step, {t / result['plain'] - 1:+.1%}")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
