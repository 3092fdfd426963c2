"""How far back do gradients reach in each of the lecture's cells, before any training?

Every cell reads the same random inputs, and a random output vector asks for random numbers at every
step. Of each cell: the map ln ||dJ_i/dh_j||, its fall with the lag relative to the diagonal, what
truncated backpropagation misses, and which steps account for the gradient of W_h of the last loss
alone.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from lmjax import analysis, cells, plot
from lmjax.cell import recurrent_weights
from lmjax.cells import initial

CELLS = {
    "vanilla, small": lambda n: cells.rnn(n, n, w_h=initial.spectral(0.6)),
    "vanilla, orthogonal": lambda n: cells.rnn(n, n),
    "vanilla, large": lambda n: cells.rnn(n, n, w_h=initial.spectral(3.0)),
    "LSTM": lambda n: cells.lstm(n, n),
    "LSTM, forget bias 4": lambda n: cells.lstm(n, n, forget_bias=4.0),
    "GRU": lambda n: cells.gru(n, n),
}


@dataclass(frozen=True)
class Config:
    cells: tuple[str, ...] = tuple(CELLS)
    n: int = 64  # size of input and hidden vector
    length: int = 128  # T
    scale: float = 0.5  # of the inputs
    ks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)  # steps of truncation
    seed: int = 0


FAST = Config(("vanilla, small", "LSTM"), n=6, length=12, ks=(1, 4, 12))


def run(cfg: Config) -> dict:
    keys = jax.random.split(jax.random.key(cfg.seed), 4)
    xs = cfg.scale * jax.random.normal(keys[0], (cfg.length, cfg.n))
    out = jax.random.normal(keys[1], (cfg.n,)) / cfg.n**0.5
    # target, weight
    ys = jnp.stack([jax.random.normal(keys[2], (cfg.length,)), jnp.ones(cfg.length)], axis=1)
    last = ys.at[:-1, 1].set(0)
    rows = []
    for name in cfg.cells:
        cell = CELLS[name](cfg.n)
        params = cell.init(keys[3])
        loss = lambda p, s, y, cell=cell: y[1] * (cell.read(p, s) @ out - y[0]) ** 2
        args = cell, params, cell.initial_state(params), xs, loss
        flow = analysis.state_gradient_map(*args, ys)
        band = analysis.state_gradient_band(*args, ys, max_lag=cfg.length - 1)
        bias = analysis.truncation_bias(*args, ys, cfg.ks)
        shares = recurrent_weights(analysis.bptt_contributions(*args, last).shares)["w_h"]
        exponent = analysis.lyapunov_spectrum(
            *args[:4], key=keys[3], num_exponents=1, burn_in=cfg.length // 4
        )
        rows.append(
            {
                "cell": name,
                "map": flow.log_norm.tolist(),
                "by_lag": band.log_relative.tolist(),
                "relative_bias": bias.relative_bias.tolist(),
                "shares": shares.tolist(),
                "lyapunov": [float(exponent.exponents[0]), float(exponent.standard_error[0])],
            }
        )
    return {"config": asdict(cfg), "rows": rows}


def figure(result: dict):
    cfg, rows = Config(**result["config"]), result["rows"]
    with plt.style.context(plot.STYLE):
        fig, axes = plt.subplots(2, 3, figsize=(15, 8.5))
        shown = [
            row
            for row in rows
            if row["cell"] in ("vanilla, small", "vanilla, large", "LSTM, forget bias 4")
        ]
        maps = [np.array(row["map"], float) for row in shown]
        norms = np.concatenate([log[np.isfinite(log)] for log in maps])
        for ax, row, log in zip(axes[0], shown, maps, strict=False):
            plot.gradient_map(log, limits=(norms.min(), norms.max()), ax=ax)
            ax.set_title(row["cell"])
        by_lag = {row["cell"]: np.array(row["by_lag"], float) for row in rows}
        relative = r"$\|\partial J_i/\partial h_j\| \,/\, \|\partial J_i/\partial h_i\|$"
        plot.lag_profiles(by_lag, ylabel=relative, ax=axes[1, 0])
        plot.truncation_curve(
            {row["cell"]: (cfg.ks, row["relative_bias"]) for row in rows}, ax=axes[1, 1]
        )
        axes[1, 1].get_legend().remove()  # the same colours as on its left
        axes[1, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        ylabel = r"share of $\partial J_T/\partial W_h|_{(t)}$"
        plot.contribution_bars(shown[-1]["shares"], ylabel=ylabel, ax=axes[1, 2])
        axes[1, 2].set_title(f"{shown[-1]['cell']}, the last loss", pad=28)
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/gradient_flow")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "gradient_flow.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "gradient_flow.json").read_text())
    figure(result).savefig(out / "gradient_flow.png")
    for row in result["rows"]:
        fall = np.nanmedian(row["by_lag"], axis=0) / np.log(10)
        half, (exponent, error) = len(fall) // 2, row["lyapunov"]
        print(
            f"{row['cell']:20} at lag {half} 10^{fall[half]:.1f}, "
            f"Lyapunov {exponent:.3f} +- {error:.3f} nats a step"
        )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
