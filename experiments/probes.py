"""Which diagnosis at initialisation foretells whether a cell will learn a task of long memory?

Vanilla, orthogonal, IRNN, LSTM and GRU are diagnosed before training and then trained on the adding
problem, copy memory and temporal order. A cell's outcome is its test loss over the loss of the best
guess that remembers nothing; each diagnosis is judged by its rank correlation with the outcome.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro

from lmjax import analysis, cells, plot
from lmjax.cell import recurrent_weights, unroll
from lmjax.cells import initial
from lmjax.data import tasks

CELLS = {
    "vanilla": lambda n_in, n: cells.rnn(n_in, n, w_h=initial.spectral(0.6)),
    "orthogonal": cells.rnn,
    "IRNN": lambda n_in, n: cells.rnn(n_in, n, activation=jax.nn.relu, w_h=initial.identity()),
    "LSTM": cells.lstm,
    "GRU": cells.gru,
}
TASKS = {
    "adding": tasks.adding,
    "copy memory": lambda length: tasks.copy_memory(length - 10, symbols=5),
    "temporal order": tasks.temporal_order,
}
DIAGNOSES = {  # each is 0 where gradients keep their size
    "reach": r"$|\ln\,\|\partial h_T/\partial h_1\|\,|$",
    "radius": r"$|\rho(W_h) - 1|$",
    "norm": r"$|\ln\,\|\partial J/\partial\theta\|\,|$",
}


@dataclass(frozen=True)
class Config:
    cells: tuple[str, ...] = tuple(CELLS)
    tasks: tuple[str, ...] = tuple(TASKS)
    length: int = 60  # T of every task
    n: int = 64  # size of the hidden vector
    steps: int = 3000
    batch: int = 32
    rate: float = 2e-3
    max_norm: float = 1.0
    sequences: int = 32  # that the diagnoses see
    test: int = 1000  # sequences that the outcome is measured on
    seed: int = 0


FAST = Config(cells=("vanilla", "LSTM"), tasks=("adding",), length=12, n=6, steps=20, batch=4, sequences=3, test=20)


def run(cfg: Config) -> dict:
    rows, profiles = [], {}
    for task in cfg.tasks:
        for cell in cfg.cells:
            profile, diagnosis, outcome, losses = jax.device_get(probe(cfg, task, cell))
            profiles[f"{cell}, {task}"] = profile.tolist()
            row = {name: float(value) for name, value in diagnosis.items()}
            rows.append({"task": task, "cell": cell, "outcome": float(outcome), **row, "losses": losses.tolist()})
    outcomes = [row["outcome"] for row in rows]
    foretold = {name: rank_correlation([row[name] for row in rows], outcomes) for name in DIAGNOSES}
    return {"config": asdict(cfg), "rows": rows, "foretold": foretold, "profiles": profiles}


@partial(jax.jit, static_argnums=(0, 1, 2))
def probe(cfg: Config, task_name: str, cell_name: str):
    """Diagnose a cell, train it, test it; losses are relative to that of the best guess without memory."""
    task = TASKS[task_name](cfg.length)
    cell = CELLS[cell_name](task.n_in, cfg.n)
    keys = jax.random.split(jax.random.key(cfg.seed), 5)
    params = {
        "cell": cell.init(keys[0]),
        "w": jax.random.normal(keys[1], (cfg.n, task.n_out)) / cfg.n**0.5,
        "b": jnp.zeros(task.n_out),
    }

    def loss(params, key, batch):
        xs, ys = task.sample(key, batch)
        _, states = unroll(cell, params["cell"], cell.start(params["cell"], (batch,)), xs)
        return task.loss(cell.read(params["cell"], states) @ params["w"] + params["b"], ys) / task.baseline

    opt = optax.chain(analysis.clip_by_global_norm(cfg.max_norm), optax.adam(cfg.rate))

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key, cfg.batch)
        updates, state = opt.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    profile = lag_profile(cell, params["cell"], task.sample(keys[2], cfg.sequences)[0], keys[3])
    spectra = [analysis.recurrent_spectrum(w) for w in recurrent_weights(params["cell"]).values()]
    diagnosis = {
        "reach": jnp.abs(jnp.median(profile[:, -1])),
        "radius": jnp.abs(jnp.concatenate([spectrum.spectral_radius for spectrum in spectra]).mean() - 1),
        "norm": jnp.abs(jnp.log(optax.tree.norm(jax.grad(loss)(params, keys[2], cfg.sequences)))),
    }
    (params, _), losses = jax.lax.scan(step, (params, opt.init(params)), jax.random.split(keys[4], cfg.steps))
    every = -(-cfg.steps // 100)
    return profile, diagnosis, loss(params, keys[3], cfg.test), losses[::every]


def lag_profile(cell, params, xs, key):
    """Give ln || dh_T/dh_j^T v ||, lag 0 set to 0, for a random direction v of every sequence: `[sequences, lags]`."""
    sequences = xs.shape[1]
    h = cell.read(params, cell.start(params, (sequences,)))
    last = jnp.zeros((len(xs), *h.shape)).at[-1].set(jax.random.normal(key, h.shape))
    along = lambda params, state, v: (cell.read(params, state) * v).sum(-1)
    flow = analysis.state_gradients(cell, params, cell.start(params, (sequences,)), xs, along, last)
    return (flow.log_total - flow.log_total[-1])[::-1].T


def rank_correlation(a, b) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    ranks = [(np.less.outer(x, x).sum(0) + np.less_equal.outer(x, x).sum(0)) / 2 for x in (a, b)]
    return float(np.corrcoef(ranks)[0, 1]) if min(map(np.ptp, ranks)) else 0.0


def figure(result: dict):
    cfg, rows, foretold = Config(**result["config"]), result["rows"], result["foretold"]
    with plt.style.context(plot.STYLE):
        fig, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), width_ratios=[4, 4, 3])
        task = cfg.tasks[0]
        profiles = {cell: np.array(result["profiles"][f"{cell}, {task}"]) for cell in cfg.cells}
        plot.lag_profiles(profiles, ylabel=r"$\|\partial h_T/\partial h_{T-\ell}\|$, random direction", ax=left)
        left.set_title(f"before training, {task}")
        for cell, colour in zip(cfg.cells, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False):
            middle.plot([], [], "s", color=colour, label=cell)
            for task, marker in zip(cfg.tasks, "o^D", strict=False):
                (row,) = (row for row in rows if (row["cell"], row["task"]) == (cell, task))
                middle.plot(row["reach"], row["outcome"], marker, color=colour)
        for task, marker in zip(cfg.tasks, "o^D", strict=False):
            middle.plot([], [], marker, color="0.4", label=task)
        middle.axhline(1, color="0.4", linestyle=":")
        middle.set(xlabel=DIAGNOSES["reach"] + " before", ylabel="loss after training / without memory", yscale="log")
        middle.legend(ncols=2)
        right.barh([DIAGNOSES[name] for name in foretold], list(foretold.values()), color="0.6", height=0.5)
        right.set(xlim=(-1, 1), xlabel="rank correlation with the loss after")
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/probes")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "probes.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "probes.json").read_text())
    figure(result).savefig(out / "probes.png")
    for row in result["rows"]:
        print(
            "  ".join(
                f"{row[name]:>14.4g}" if name not in ("task", "cell") else f"{row[name]:14}"
                for name in ("task", "cell", "outcome", *DIAGNOSES)
            )
        )
    print(result["foretold"])


if __name__ == "__main__":
    tyro.cli(main)
