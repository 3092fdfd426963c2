# %% [markdown]
# # Output layers
#
# The lecture's last line is $\hat y_t = \mathrm{softmax}(U h_t)$: one exponential for each word
# of the vocabulary, at every step. With a vocabulary of tens of thousands of words this line, and
# not the recurrence, takes most of the time. Here are the three ways to pay less: in memory, in
# work for rare words, and in training alone.

# %%
import os
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from lmjax import cells, data, heads, metrics, models, plot, train

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests
key = jax.random.key(0)

# %% [markdown]
# ## The full softmax, without all its logits
#
# $\log P(w) = u_w \cdot y - \log \sum_v e^{u_v \cdot y}$ needs one logit and one sum, its
# gradient the probabilities that the sum has just made. So both are made together, for a block of
# 256 positions or some more at a time, and the logits of a batch are never all in memory: what
# grows with $V$ here are the gradient of the weights and one block.

# %%
n, positions = (4, 16) if FAST else (64, 2048)
for vocab_size in (100,) if FAST else (10_000, 30_000, 100_000, 300_000):
    head = heads.softmax(n, vocab_size)
    params = SimpleNamespace(head=jax.eval_shape(head.init, key))
    shapes = (
        params.head,
        jax.ShapeDtypeStruct((positions, n), float),
        jax.ShapeDtypeStruct((positions,), int),
    )
    loss = lambda weights, y, token, head=head: head.loss(
        SimpleNamespace(head=weights), y, token, key
    ).mean()
    memory = jax.jit(jax.grad(loss)).lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    print(
        f"V = {vocab_size:,}: {4e-6 * positions * vocab_size:,.0f} MB of logits, "
        f"{memory / 1e6:,.0f} MB in use"
    )

# %% [markdown]
# ## The adaptive softmax: rare words cost little
#
# Words are numbered by frequency, so a few of the first make up most of any text. The adaptive
# softmax decides among those and one entry for each cluster of rarer words; a cluster is read
# only where it is needed, and with fewer features. It is a distribution of its own kind, and
# exact: its loss is a log-likelihood.

# %%
corpus = data.stdlib()
V = len(corpus.vocab)
cutoffs = (500, 1500)
share = np.diff([0, *(np.mean(corpus.train < c) for c in cutoffs), 1])
for name, s, size in zip(
    ("first words", "cluster 1", "cluster 2"), share, np.diff([0, *cutoffs, V]), strict=True
):
    print(f"{name}: {size} words, {s:.1%} of the text")

# %% [markdown]
# ## The sampled softmax: an estimate, for training only
#
# Where the sum over the vocabulary is replaced by $K$ words drawn from $q$, each weighed by $1 /
# (K q_v)$, the sum is unbiased and its logarithm is not: on average the loss lies below the cross
# entropy, and tends to it as $K$ grows. It is never scored: `log_prob` of the same head is the
# exact one.

# %%
head = heads.softmax(16, V)
params = SimpleNamespace(head=head.init(key))
y, token = jax.random.normal(key, (64, 16)), jnp.asarray(corpus.test[:64])
exact = -head.log_prob(params, y, token).mean()
counts, draws = 2 ** np.arange(2, 8 if FAST else 13), jax.random.split(key, 64)
estimates = []
for k in counts:
    loss = heads.sampled(16, V, samples=int(k)).loss
    estimates.append(
        jax.lax.map(lambda draw, loss=loss: loss(params, y, token, draw), draws).mean()
    )
with plt.style.context(plot.STYLE):
    fig, ax = plt.subplots()
    ax.plot(counts, estimates, "o-", label="sampled, mean of 64 draws")
    ax.axhline(exact, color="0.4", linestyle=":", label="cross entropy")
    ax.set(xlabel="words drawn, $K$", ylabel="loss, nats a token", xscale="log")
    ax.legend()

# %% [markdown]
# ## The same model with each
#
# The exact perplexity on the validation text after each epoch, and the time it took. With three
# thousand words the full softmax is still cheap; `experiments/heads.py` measures the layers alone
# up to 200,000 words.

# %%
n, epochs, bptt = (8, 1, 32) if FAST else (96, 3, 32)
text = corpus._replace(train=corpus.train[:2000], valid=corpus.valid[:200]) if FAST else corpus
layers = {
    "softmax": heads.softmax(n, V),
    "tied": heads.tied(V),
    "adaptive": heads.adaptive(n, V, cutoffs=cutoffs),
    "sampled": heads.sampled(n, V, samples=256),
}
curves = {}
total = epochs * train.steps_per_epoch(len(text.train), 16, bptt)
for name, head in layers.items():
    lm = models.recurrent(cells.gru(n, n), vocab_size=V, head=head)
    transform, begin = train.optimizer("adam", 8e-3, steps=total), time.perf_counter()
    run = train.fit(lm, text, key, epochs=epochs, batch_size=16, bptt=bptt, transform=transform)
    seconds = time.perf_counter() - begin
    curves[name] = [valid for _, valid in run.history.valid]
    result = metrics.perplexity(lm, run.params, text.valid, start=text.vocab.eos)
    print(f"{name}: validation perplexity {result.perplexity:.1f} after {seconds:.0f} s")
with plt.style.context(plot.STYLE):
    fig, ax = plt.subplots()
    for (name, valid), marker in zip(curves.items(), "os^D", strict=True):
        ax.plot(range(1, epochs + 1), valid, f"{marker}-", label=name)
    ax.set(xlabel="epoch", ylabel="validation perplexity, exact", xticks=range(1, epochs + 1))
    ax.legend()

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
