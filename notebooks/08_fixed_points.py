# %% [markdown]
# # Fixed points
#
# What does a network do while its input does not change? It moves to a state at which it stays, a
# fixed point, or it goes on moving. Where it stays, and how fast it comes back after a push, is
# what it can keep in mind: Jacobians again, but at the places where the network comes to rest.

# %%
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from lmjax import analysis, cells, data, models, plot, train

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %% [markdown]
# ## One unit
#
# $h_t = \tanh(w h_{t-1})$. Up to $w = 1$ everything is forgotten: 0 is the only fixed point, and it
# draws all states. Beyond, 0 pushes them away, and two new points keep a sign for ever: one bit of
# memory. At $w = 1$ itself a push decays slower than any exponential.

# %%
unit = cells.rnn(1, 1)
start = unit.init(jax.random.key(0))._replace(b=jnp.zeros(1))
sweep, slowest = np.linspace(0.1, 2.5, 7 if FAST else 49), []
with plt.style.context(plot.STYLE):
    ax, (first, second) = plt.subplots()[1], map(plot.style.colour, range(2))
    for w in sweep:
        params = start._replace(w_h=jnp.full((1, 1), w))
        starts = jnp.array([[-1.0], [0.0], [1.0]])
        points = analysis.fixed_points(unit, params, jnp.zeros((1, 1)), starts)
        for kind, marker, colour in ((True, "o", first), (False, "x", second)):
            states = points.states[points.stable == kind]
            ax.plot([w] * len(states), states, marker, color=colour)
        slowest.append(points.time_constants.max())
    ax.set(xlabel="$w$", ylabel="fixed points $h$: o stable, x not")
print(f"the slowest return, in {max(slowest):.3g} steps, is at w = {sweep[np.argmax(slowest)]:.2f}")

# %% [markdown]
# ## Every word of a language model, held
#
# A language model that reads one and the same word again and again, and where it comes to rest. All
# words are searched at once; a point's largest eigenvalue tells how many steps a disturbance lasts
# there: the memory that this word leaves room for.

# %%
corpus = data.stdlib()
if FAST:
    corpus = corpus._replace(**{s: getattr(corpus, s)[:300] for s in ("train", "valid", "test")})
n, vocab = 4 if FAST else 48, corpus.vocab
lm = models.recurrent(cells.lstm(n, n), vocab_size=len(vocab))
fit = train.fit(lm, corpus, jax.random.key(0), epochs=1, batch_size=16, bptt=32)

cell, _ = models.as_cell(lm)
words = jnp.arange(9 if FAST else len(vocab))
states = lm.cell.initial_state(fit.params.cell, (1,))
begin = time.perf_counter()
points = analysis.fixed_points(cell, fit.params, words, states, max_speed=1e-4, settle=300)
seconds, megabytes = time.perf_counter() - begin, points.jacobians.nbytes / 2**20
print(f"{len(words):,} words: {len(points.speeds):,} fixed points in {seconds:.0f} s")
print(f"their Jacobians, {points.jacobians.shape[1:]} each, take {megabytes:.0f} MB")

# %%
slow, stable = points.time_constants[:, 0], points.stable
print(f"{stable.mean():.0%} are stable")
by_memory = [k for k in np.argsort(-slow) if stable[k]]
for title, chosen in (("longest", by_memory[:8]), ("shortest", by_memory[-8:])):
    told = ", ".join(f"{vocab.symbols[points.inputs[k]]} ({slow[k]:.1f})" for k in chosen)
    print(f"{title} time constants in steps: {told}")

# %% [markdown]
# The eigenvalues at the point of the commonest word: those near 1 are what the network keeps of the
# past while it reads that word.

# %%
plot.eigenvalues({vocab.symbols[points.inputs[0]]: points.eigenvalues[0]})

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
