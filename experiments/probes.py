"""Which diagnosis foretells whether a cell will learn a task of long memory, and how early?

Vanilla, orthogonal, IRNN, LSTM and GRU are trained on the adding problem, copy memory and temporal
order, and diagnosed before and all along. A cell's outcome is its test loss over the loss of the
best guess that remembers nothing. A diagnosis, at each moment, is judged by its rank correlation
with the outcome over the cells of a task, averaged over the tasks.
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
from lmjax.cell import recurrent_weights
from lmjax.cells import initial
from lmjax.data import tasks
from lmjax.unroll import unroll

CELLS = {
    "vanilla": lambda n_in, n: cells.rnn(n_in, n, w_h=initial.spectral(0.6)),
    "orthogonal": cells.CELLS["rnn"],
    "IRNN": cells.CELLS["irnn"],
    "LSTM": cells.CELLS["lstm"],
    "GRU": cells.CELLS["gru"],
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
    n: int = 48  # size of the hidden vector
    rounds: int = 20  # a diagnosis before each
    steps: int = 100  # of training, a round
    batch_size: int = 32
    lr: float = 2e-3
    max_norm: float = 1.0
    sequences: int = 16  # that the diagnoses see
    test: int = 1000  # sequences that the outcome is measured on
    seed: int = 0


FAST = Config(
    ("IRNN",), ("adding",), length=12, n=6, rounds=2, steps=9, batch_size=4, sequences=3, test=20
)


def run(cfg: Config) -> dict:
    rows = []
    for task in cfg.tasks:
        for cell in cfg.cells:
            outcome, losses, profiles, diagnoses = jax.device_get(probe(cfg, task, cell))
            row = {name: values.tolist() for name, values in diagnoses.items()}  # [rounds] each
            # before round 1 and round 2
            row |= {"losses": losses.tolist(), "profiles": profiles[:2].tolist()}
            rows.append({"task": task, "cell": cell, "outcome": float(outcome), **row})
    own = [[row for row in rows if row["task"] == task] for task in cfg.tasks]
    foretold = {
        name: [
            float(
                np.mean(
                    [
                        rank_correlation([r[name][k] for r in rs], [r["outcome"] for r in rs])
                        for rs in own
                    ]
                )
            )
            for k in range(cfg.rounds)
        ]
        for name in DIAGNOSES
    }
    return {"config": asdict(cfg), "rows": rows, "foretold": foretold}


@partial(jax.jit, static_argnums=(0, 1, 2))
def probe(cfg: Config, task_name: str, cell_name: str):
    """Train a cell, diagnose it before each round, test it; losses are those over the baseline."""
    task = TASKS[task_name](cfg.length)
    cell = CELLS[cell_name](task.n_in, cfg.n)
    keys = jax.random.split(jax.random.key(cfg.seed), 6)
    params = {
        "cell": cell.init(keys[0]),
        "w": jax.random.normal(keys[1], (cfg.n, task.n_out)) / cfg.n**0.5,
        "b": jnp.zeros(task.n_out),
    }
    opt = optax.chain(analysis.clip_by_global_norm(cfg.max_norm), optax.adam(cfg.lr))

    def loss(params, sample):
        xs, ys = sample
        _, states = unroll(
            cell, params["cell"], cell.initial_state(params["cell"], xs.shape[1:2]), xs
        )
        return (
            task.loss(cell.read(params["cell"], states) @ params["w"] + params["b"], ys)
            / task.baseline
        )

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, task.sample(key, cfg.batch_size))
        updates, state = opt.update(gradient, state)
        return (optax.apply_updates(params, updates), state), (value, jnp.log(state[0].norm))

    def one_round(carry, keys):
        profile = lag_profile(cell, carry[0]["cell"], watched, directions)
        weights = recurrent_weights(carry[0]["cell"]).values()
        radius = jnp.concatenate(
            [analysis.recurrent_spectrum(w).spectral_radius for w in weights]
        ).mean()
        carry, (losses, log_norms) = jax.lax.scan(step, carry, keys)
        diagnoses = {
            "reach": jnp.median(profile[:, -1]),
            "radius": radius - 1,
            "norm": log_norms[0],
        }
        return carry, (losses.mean(), profile, jax.tree.map(jnp.abs, diagnoses))

    watched = task.sample(keys[2], cfg.sequences)[0]
    directions = jax.random.normal(keys[3], (cfg.sequences, cfg.n))
    steps = jax.random.split(keys[4], (cfg.rounds, cfg.steps))
    (params, _), trace = jax.lax.scan(one_round, (params, opt.init(params)), steps)
    return loss(params, task.sample(keys[5], cfg.test)), *trace


def lag_profile(cell, params, xs, v):
    """Give ln || (dh_T/ds_{T-l})^T v ||, relative to lag 0, of one v a sequence: `[B, T]`."""
    last = jnp.zeros((len(xs), *v.shape)).at[-1].set(v)
    along = lambda params, state, v: (cell.read(params, state) * v).sum(-1)
    flow = analysis.state_gradients(
        cell, params, cell.initial_state(params, v.shape[:1]), xs, along, last
    )
    return (flow.log_total - flow.log_total[-1])[::-1].T


def rank_correlation(a, b) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    ranks = [(np.less.outer(x, x).sum(0) + np.less_equal.outer(x, x).sum(0)) / 2 for x in (a, b)]
    return float(np.corrcoef(ranks)[0, 1]) if min(map(np.ptp, ranks)) else 0.0


def figure(result: dict):
    cfg, rows, task = Config(**result["config"]), result["rows"], result["config"]["tasks"][0]
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(2, 2, figsize=(11, 7.6))
        for k, (ax, title) in enumerate(
            zip(axes[0], ("before training", f"after {cfg.steps} steps"), strict=True)
        ):
            profiles = {
                row["cell"]: np.array(row["profiles"][k]) for row in rows if row["task"] == task
            }
            plot.lag_profiles(
                profiles, ylabel=r"$\|\partial h_T/\partial h_{T-\ell}\|$, random direction", ax=ax
            )
            ax.set_title(f"{task}, {title}")
        left, right = axes[1]
        colours = dict(
            zip(cfg.cells, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False)
        )
        markers = dict(zip(cfg.tasks, "o^D", strict=False))
        for row in rows:
            left.plot(
                row["reach"][1], row["outcome"], markers[row["task"]], color=colours[row["cell"]]
            )
        for cell, colour in colours.items():
            left.plot([], [], "s", color=colour, label=cell)
        for task, marker in markers.items():
            left.plot([], [], marker, color="0.5", label=task)
        left.axhline(1, color="0.4", linestyle=":")
        left.set(
            xlabel=DIAGNOSES["reach"] + f" after {cfg.steps} steps",
            ylabel="test loss / without memory",
            yscale="log",
        )
        left.legend(ncols=2)
        for name, values in result["foretold"].items():
            right.plot(cfg.steps * np.arange(cfg.rounds), values, label=DIAGNOSES[name])
        right.set(
            xlabel="steps trained when diagnosed",
            ylabel="rank correlation with the test loss",
            ylim=(-1.05, 1.05),
        )
        right.legend()
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/probes")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "probes.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "probes.json").read_text())
    figure(result).savefig(out / "probes.png")
    print(
        f"{'task':16}{'cell':12}{'test loss':>10}"
        + "".join(f"{name:>10}{'later':>8}" for name in DIAGNOSES)
    )
    for row in result["rows"]:
        values = "".join(f"{row[name][0]:10.3g}{row[name][1]:8.3g}" for name in DIAGNOSES)
        print(f"{row['task']:16}{row['cell']:12}{row['outcome']:10.2g}{values}")
    for name, values in result["foretold"].items():
        print(
            f"{name}: rank correlation with the test loss {values[0]:.2f} before, "
            f"{values[1]:.2f} after a round"
        )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
