# %% [markdown]
# # First steps
#
# A language model predicts the next word: $P(x^{(t+1)} | x^{(t)}, \dots, x^{(1)})$. Here a
# recurrent one is trained on the English prose that ships with Python, measured, asked for
# suggestions, and looked into. Beside it stands a vanilla RNN of the same size, trained alike.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lmjax import analysis, cells, data, decoding, heads, metrics, models, plot, train
from lmjax.unroll import unroll

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %% [markdown]
# ## A cell is a few functions
#
# `step` takes the state and one input to the next state, and nothing else; whatever does not need
# the state (`encode`) runs before the loop over time, whatever only reads it (`read`) after.
# `unroll` is the loop.

# %%
cell = cells.lstm(3, 4)
params = cell.init(jax.random.key(0))
final, states = unroll(cell, params, cell.initial_state(params), jnp.ones((6, 3)))
print("h:", states.h.shape, "last:", np.round(final.h, 3))

# %% [markdown]
# ## A model and its perplexity
#
# The loss of step t is $J^{(t)} = -\log \hat y^{(t)}_{x_{t+1}}$; perplexity is $\exp$ of its mean
# over every token of the test text. A model that knew only how frequent words are would score the
# unigram baseline. Both networks have the settings of `lmjax demo`, and so its numbers: word
# vectors that are also the weights of the softmax, dropout, a learning rate that falls to 0.

# %%
corpus = data.stdlib()
if FAST:
    corpus = corpus._replace(
        train=corpus.train[:2000], valid=corpus.valid[:500], test=corpus.test[:500]
    )
n, epochs, batch_size, bptt = 8 if FAST else 128, 1 if FAST else 3, 16, 32
V, total = len(corpus.vocab), epochs * train.steps_per_epoch(len(corpus.train), batch_size, bptt)
trained, curves = {}, {}
for name, cell in {"rnn": cells.rnn(n, n), "lstm": cells.lstm(n, n)}.items():
    dropout = models.Dropout(input=0.2, output=0.2)
    lm = models.recurrent(cell, vocab_size=V, head=heads.tied(V), dropout=dropout)
    run = train.fit(
        lm,
        corpus,
        jax.random.key(0),
        epochs=epochs,
        batch_size=batch_size,
        bptt=bptt,
        transform=train.optimizer("adam", 8e-3, steps=total),
    )
    trained[name], curves[name] = (lm, run.params), train.learning_curve(run.history)
    tokens = {"start": corpus.vocab.eos, "unknown": corpus.vocab.unk}
    print(f"{name}:", metrics.perplexity(lm, run.params, corpus.test, **tokens))
print("unigram:", metrics.unigram_perplexity(corpus.train, corpus.test, V))
plot.learning_curves(curves)

# %% [markdown]
# ## What comes next?

# %%
vocab, (lm, params) = corpus.vocab, trained["lstm"]
for text in ("return a", "if the"):
    found = decoding.suggest(lm, params, [vocab.eos, *vocab.encode(text)[:-1]])
    print(text, {vocab.symbols[i]: round(p, 3) for i, p in found})
ids = decoding.generate(
    lm, params, [vocab.eos], jax.random.key(1), length=30, top_p=0.9, exclude=(vocab.unk,)
)
print(vocab.decode(ids))

# %% [markdown]
# ## Does the gradient get through?
#
# The product of the steps' Jacobians, $\partial s_i / \partial s_j$, says how much of a change at
# step j is left at step i. In the vanilla RNN it vanishes exponentially, a straight line here; in
# the LSTM, along the cell $c_t$, far less of it is lost.

# %%
tokens = jnp.asarray(corpus.test[:200])
profiles = {}
for name, (lm, params) in trained.items():
    xs, state = lm.embed(params.embed, tokens), lm.cell.initial_state(params.cell)
    jacobians = analysis.step_jacobians(lm.cell, params.cell, state, xs)
    norms = analysis.jacobian_product_norms(jacobians, starts=jnp.arange(0, 100, 25), max_lag=100)
    profiles[name] = norms.log
plot.lag_profiles(profiles, ylabel=r"$\|\partial s_i/\partial s_j\|_F$")

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
