# %% [markdown]
# # Clipping and memory
#
# The lecture's remedy for exploding gradients is to clip them, and its remedy for vanishing ones
# is a cell with gates. Here both can be seen at work: the cliff that makes clipping necessary,
# what clipping did at each step of a training run, and how long the memory is that a gate makes.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from lmjax import analysis, cells, plot
from lmjax.cell import recurrent_weights
from lmjax.data import tasks
from lmjax.unroll import unroll

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %% [markdown]
# ## The cliff
#
# The lecture's toy is $h_t = \tanh(3 h_{t-1} + 2 x_t + 1)$. Let $w = 3$ and $b = 1$ become
# parameters and ask that $h_{50}$ be $-0.7$. With $w > 1$ the recurrence has two resting points;
# where the lower one ceases to exist, $h_{50}$ jumps to the upper one, and the error has a cliff.
# Gradient descent that steps onto the cliff is thrown as far as the gradient there is large.

# %%
ws, bs = jnp.linspace(0.5, 4.5, 200), jnp.linspace(-0.5, 2.5, 200)
surface = analysis.error_surface(analysis.toy_error, ws, bs)
ways = {
    "SGD": optax.sgd(0.3),
    "SGD, clipped at 0.1": optax.chain(analysis.clip_by_global_norm(0.1), optax.sgd(0.3)),
}
descents = {
    name: analysis.descend(analysis.toy_error, jnp.array([3.0, 1.0]), transform, steps=300)
    for name, transform in ways.items()
}
for name, descent in descents.items():
    steepest = jnp.linalg.norm(descent.gradient, axis=1).max()
    longest = jnp.linalg.norm(jnp.diff(descent.theta, axis=0), axis=1).max()
    w, b = descent.theta[-1]
    print(
        f"{name}: largest gradient {steepest:.3g}, longest step {longest:.3g}, "
        f"ends at w = {w:.2f}, b = {b:.2f}"
    )
plot.error_surface(ws, bs, surface, {name: descent.theta for name, descent in descents.items()})

# %% [markdown]
# ## A clip that cannot overflow
#
# The norm of a gradient is a sum of squares, and squares leave the range of float32 long before
# the gradient does. A step that is skipped just when the gradient explodes is hard to notice, so
# ours takes the norm of $g / \max|g|$, counts what is not finite by itself, and keeps its
# statistics in its state.

# %%
exploded = {"w": jnp.array([3e20, 4e20], jnp.float32)}
for name, clip in {
    "optax": optax.clip_by_global_norm(1.0),
    "lmjax": analysis.clip_by_global_norm(1.0),
}.items():
    update, state = clip.update(exploded, clip.init(exploded))
    print(f"{name}: {update['w']}")
print(
    f"norm {state.norm:.3g}, clipped {state.clipped} of {state.step}, not finite {state.nonfinite}"
)

# %% [markdown]
# ## Training with both in view
#
# An LSTM and a vanilla network learn the adding problem: add the two marked numbers of a
# sequence. Predicting 1 always has a mean squared error of 1/6; less than that takes memory. A
# monitor takes the spectral radius of $W_h$ at every 20th step, inside the compiled training
# loop.

# %%
task = tasks.adding(12 if FAST else 40)
n, batch, steps, max_norm = (8, 4, 40, 0.5) if FAST else (48, 32, 1500, 0.5)


def loss(cell, params, sample):
    xs, ys = sample
    _, states = unroll(cell, params["cell"], cell.initial_state(params["cell"], xs.shape[1:2]), xs)
    return task.loss(cell.read(params["cell"], states) @ params["w"], ys)


def train(cell, key):
    """Return the trained parameters, and of every step loss, norm before clipping, monitor."""
    k_cell, k_w, k_data = jax.random.split(key, 3)
    params = {"cell": cell.init(k_cell), "w": jax.random.normal(k_w, (n, 1)) / n**0.5}
    opt = optax.chain(analysis.clip_by_global_norm(max_norm), optax.adam(3e-3))
    radius = lambda params: (
        analysis.recurrent_spectrum(recurrent_weights(params)["cell.w_h"]).spectral_radius
    )
    watch = analysis.monitor({"radius": radius}, every=20)

    def step(carry, key):
        params, state, seen = carry
        sample = task.sample(key, batch)
        value, gradient = jax.value_and_grad(lambda p: loss(cell, p, sample))(params)
        seen = watch.update(seen, params)
        updates, state = opt.update(gradient, state)
        return (optax.apply_updates(params, updates), state, seen), (value, state[0].norm, seen)

    carry = (params, opt.init(params), watch.init(params))
    run = jax.jit(lambda *args: jax.lax.scan(step, *args))
    (after, state, _), trace = run(carry, jax.random.split(k_data, steps))
    return params, after, state[0], trace


networks = {"vanilla": cells.rnn(task.n_in, n), "LSTM": cells.lstm(task.n_in, n)}
runs = {name: train(cell, jax.random.key(0)) for name, cell in networks.items()}
for name, (_, _, clips, (losses, _, seen)) in runs.items():
    radius = seen.values["radius"]
    print(
        f"{name}: squared error {losses[-20:].mean():.4f} (without memory {task.baseline:.4f}); "
        f"{int(clips.clipped)} of {int(clips.step)} gradients clipped; "
        f"spectral radius {radius[0].max():.2f} before, {radius[-1].max():.2f} after"
    )

# %%
plot.clip_timeline(runs["LSTM"][3][1], max_norm)

# %% [markdown]
# ## Sequences too long for memory
#
# The way back through time needs what every step left on the way forth. With segments of $\sqrt
# T$ steps only the state at the start of each segment is kept, and the rest is computed again,
# one segment at a time: a second forward pass for the memory. What the compiled gradient needs
# can be asked before it runs.

# %%
cell, length = cells.lstm(32, 32), 256 if FAST else 16384
params, xs = cell.init(jax.random.key(0)), jax.ShapeDtypeStruct((length, 1, 32), jnp.float32)
for segment in (None, int(length**0.5)):

    @jax.jit
    def gradient(params, xs, segment=segment):
        final = lambda params: unroll(
            cell, params, cell.initial_state(params, (1,)), xs, segment=segment
        )[0]
        return jax.grad(lambda params: final(params).h.sum())(params)

    needed = gradient.lower(params, xs).compile().memory_analysis().temp_size_in_bytes
    print(f"T = {length}, segment {segment}: {needed / 1e6:.1f} MB")

# %% [markdown]
# ## Gates and how long they remember
#
# A forget gate near 1 keeps what is in the cell: over $T$ steps the content is multiplied by
# $\prod_t f_t = e^{-T / \tau}$. The scatter shows every unit by how often its gates are shut and
# open.

# %%
cell, (before, after, *_) = networks["LSTM"], runs["LSTM"]
xs, _ = task.sample(jax.random.key(1), 64)
for name, params in {"before": before, "after": after}.items():
    gates = analysis.gate_values(
        cell, params["cell"], cell.initial_state(params["cell"], (64,)), xs
    )
    tau = analysis.time_constants(gates["f"])
    print(
        f"{name} training: time constants from {tau.min():.1f} to {tau.max():.1f} steps, "
        f"median {jnp.median(tau):.1f}"
    )
plot.gate_scatter({name: analysis.gate_saturation(gate) for name, gate in gates.items()})

# %% [markdown]
# The horizon is the lag at which $\partial s_i / \partial s_j$ has shrunk to a tenth; it is
# measured on the whole recurrence, the paths through $h$ included, and need not agree with the
# forget gates.

# %%
profiles, longest = {}, len(xs) // 2
for name, cell in networks.items():
    params = runs[name][1]["cell"]
    jacobians = analysis.step_jacobians(cell, params, cell.initial_state(params), xs[:, 0])
    profiles[name] = analysis.jacobian_product_norms(
        jacobians, max_lag=longest, starts=jnp.arange(8)
    ).log
    horizon = analysis.memory_horizon(profiles[name], fraction=0.1)
    lag, tau = jnp.median(horizon.lag), jnp.median(horizon.time_constant)
    reach = f"after {lag:.0f} steps" if jnp.isfinite(lag) else f"not within {longest} steps"
    print(f"{name}: under a tenth {reach}; time constant {tau:.1f} steps")
plot.lag_profiles(profiles, ylabel=r"$\|\partial s_i/\partial s_j\|_F$")

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
