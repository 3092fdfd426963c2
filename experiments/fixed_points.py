"""What does a network do while nothing comes in? The fixed points of a memory of three bits.

Each of three inputs now and then sends +1 or -1, and the network is to tell, at every step, which
of the two each has sent last. A GRU is trained on it. With its input held at zero it should have a
stable fixed point for each of the eight memories, and unstable ones between them, where a state
decides which way to go.

The task, and the search: Sussillo and Barak (2013).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from jax import lax

from lmjax import analysis, cells, plot
from lmjax.unroll import unroll


@dataclass(frozen=True)
class Config:
    bits: int = 3
    hidden: int = 32
    pulses: float = 0.1  # probability of one, at each step of each input
    disturbance: float = 0.1  # standard deviation of what else comes in, while training
    length: int = 60
    batch_size: int = 64
    steps: int = 2500
    lr: float = 5e-3
    starts: int = 400  # of the search
    noise: float = 0.3  # added to half of them
    seed: int = 0


FAST = Config(bits=1, hidden=4, length=8, steps=2, starts=4)


def memory(cfg: Config, key):
    """Return inputs `[T, B, bits]` of 0, +1 and -1, and the last of +1 and -1 that each had.

    All send at first: else 0 would be a third thing to keep in mind.
    """
    k_sign, k_when = jax.random.split(key)
    shape = cfg.length, cfg.batch_size, cfg.bits
    when = jax.random.bernoulli(k_when, cfg.pulses, shape).at[0].set(True)
    sent = jax.random.rademacher(k_sign, shape) * when
    later = lambda last, sent: (jnp.where(sent == 0, last, sent),) * 2
    return sent.astype(float), lax.scan(later, sent[0], sent)[1]


def train(cfg: Config, cell, key):
    k_init, k_data = jax.random.split(key)
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(cfg.lr, cfg.steps)),
    )

    def loss(params, key):
        inputs, targets = memory(cfg, key)
        inputs += cfg.disturbance * jax.random.normal(jax.random.fold_in(key, 1), inputs.shape)
        start = cell.initial_state(params[0], (cfg.batch_size,))
        return jnp.mean((unroll(cell, params[0], start, inputs)[1] @ params[1] - targets) ** 2)

    def step(state, key):
        params, opt = state
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, opt = adam.update(gradient, opt)
        return (optax.apply_updates(params, updates), opt), value

    params = cell.init(k_init), jnp.zeros((cfg.hidden, cfg.bits))
    keys = jax.random.split(k_data, cfg.steps)
    (params, _), losses = jax.jit(lambda state: lax.scan(step, state, keys))(
        (params, adam.init(params))
    )
    return params, losses


def run(cfg: Config) -> dict:
    cell, key = cells.gru(cfg.bits, cfg.hidden), jax.random.key(cfg.seed)
    trained, losses = train(cfg, cell, key)
    with jax.enable_x64(True):
        params, readout = jax.tree.map(lambda x: jnp.asarray(x, float), trained)
        inputs, _ = memory(cfg, jax.random.fold_in(key, 1))
        _, states = unroll(cell, params, cell.initial_state(params, (cfg.batch_size,)), inputs)
        k_place, k_noise = jax.random.split(jax.random.fold_in(key, 2))
        starts = jax.random.choice(k_place, states.reshape(-1, cfg.hidden), (cfg.starts,))
        noise = cfg.noise * jax.random.normal(k_noise, starts.shape)
        starts += noise * (jnp.arange(cfg.starts) % 2)[:, None]
        silence = jnp.zeros((1, cfg.bits))
        points = analysis.fixed_points(cell, params, silence, starts, max_speed=1e-9)
        told = points.states @ readout
    return {
        "config": asdict(cfg),
        "loss": np.asarray(losses[-50:], float).mean().item(),
        "states": points.states.tolist(),
        "read": np.asarray(told).tolist(),
        "speeds": points.speeds.tolist(),
        "starts": points.starts.tolist(),
        "stable": points.stable.tolist(),
        "eigenvalues": [[(z.real, z.imag) for z in row] for row in points.eigenvalues.tolist()],
        "paths": np.asarray(states, float).swapaxes(0, 1)[:20].round(5).tolist(),
    }


def figure(result: dict):
    eigenvalues, stable = np.array(result["eigenvalues"]), np.array(result["stable"], bool)
    spectra = {}
    for name, chosen in (("stable", stable), ("unstable", ~stable)):
        if chosen.any():
            spectra[name] = (eigenvalues[chosen] @ [1, 1j]).ravel()
    with plt.style.context(plot.STYLE):
        fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), width_ratios=(1.2, 1))
        states = np.reshape(result["states"], (len(stable), -1))
        if len(stable):
            plot.fixed_points(states, stable, result["paths"], ax=left)
            plot.eigenvalues(spectra, ax=right)
    return fig


def main(cfg: Config = Config(), out: Path = Path("out/fixed_points")) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "fixed_points.json").write_text(json.dumps(run(cfg)))
    result = json.loads((out / "fixed_points.json").read_text())
    figure(result).savefig(out / "fixed_points.png")
    stable = np.array(result["stable"], bool)
    print(f"mean squared error {result['loss']:.2g}; fixed points without input: {len(stable)}")
    print(f"{stable.sum()} of them are stable; speeds are at most {max(result['speeds']):.1g}:")
    print(np.array(result["read"])[stable].round(2))


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
