# %% [markdown]
# # Counts as features
#
# Kneser-Ney smoothing trusts the longest context that was seen. But the last word and the word
# two before it say something too, even where the three were never seen together. Sparse
# non-negative matrix estimation takes every pair of a feature $f$ of the history (the words at some
# distances) and a word $w$ for a link, and adds up the links of all features that are there:
#
# $$
# P(w \mid h) = \frac{\sum_{f \in h} M_{fw}}{\sum_v \sum_{f \in h} M_{fv}},
# \qquad M_{fw} = e^{A(f, w)} \, \frac{C_{fw}}{C_{f*}}
# $$
#
# $C_{fw}$ counts how often $w$ followed $f$, and $C_{f*}$ how often $f$ was there at all.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from lmjax import data, decoding, metrics, models, plot
from lmjax.models import Params, ngram, snm

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %% [markdown]
# A type of feature is the distances of its words: `(1, 2)` are the last two words, `(2,)` is the
# word before the last, whatever the last is: a skip-gram.

# %%
types = snm.feature_types(order=3 if FAST else 5)
print(len(types), "types:", types)

# %%
if FAST:
    words = np.random.default_rng(0).zipf(1.5, 8000) % 50
    train, test, V, eos, symbols = words[:6000], words[6000:], 50, 1, None
else:
    corpus = data.stdlib()
    train, test, V, eos = corpus.train, corpus.test, len(corpus.vocab), corpus.vocab.eos
    symbols = corpus.vocab.symbols
counts = snm.count(train, types, vocab_size=V)
print(f"{sum(len(table.follower) for table in counts.tables):,} links in {len(train):,} words")

# %% [markdown]
# ## Leaving one out
#
# The factors $e^A$ must be trained on words that the counts have not seen, or rare links would look
# far better than they are. No second text is needed: each word of the text is predicted from the
# counts of all the others. $A$ depends on the type of the feature and on the two counts alone, so
# taking one occurrence away changes little: a word goes from one bucket of counts to the one below.

# %%
adjustment = snm.train(counts, jax.random.key(0), positions=2_000 if FAST else 200_000)
lm = snm.snm(V, types)


def score(lm, model):
    return metrics.perplexity(lm, Params((), (), model), test, start=eos).perplexity


trained = snm.index(counts, adjustment)
untrained = snm.index(counts, jax.tree.map(jnp.zeros_like, adjustment))
ngrams = ngram.count(train, 5, size=V, eos=eos)
kn = ngram.index(ngram.modified_kneser_ney(ngrams, fallback=ngram.FALLBACK))
for name, found in {
    "without factors": score(lm, untrained),
    "with factors": score(lm, trained),
    "modified Kneser-Ney": score(ngram.ngram(V, 5, eos=eos), kn),
}.items():
    print(f"{name}: perplexity {found:.1f}")

# %% [markdown]
# ## What a count is worth
#
# Of features that were seen 16 to 23 times: a word that followed once is worth less than its share,
# one that always followed is worth more. This is what discounts do in Kneser-Ney smoothing, found
# here by training, and for skip-grams as well.

# %%
few = int(np.searchsorted(snm.EDGES, 16)) + 1
with plt.style.context(plot.STYLE):
    fig, ax = plt.subplots()
    for offsets, marker in zip([(1,), (1, 2), (2,), (3,)], "osD^", strict=True):
        factor = np.exp(adjustment.by_count[types.index(offsets), few - 1, :few])
        ax.plot(snm.EDGES[:few], factor, f"{marker}-", label=f"words at {offsets}")
    ax.set(xscale="log", yscale="log", xlabel="$C_{fw}$", ylabel="factor $e^A$")
    ax.legend()

# %% [markdown]
# ## One model as every other
#
# It is an embedding, a cell (its state the last words) and a head: it writes, and mixes.

# %%
both = models.mixture(lm, ngram.ngram(V, 5, eos=eos))
params = models.join([Params((), (), trained), Params((), (), kn)], [0.5, 0.5])
mixed = metrics.perplexity(both, params, test, start=eos).perplexity
print(f"half of each: perplexity {mixed:.1f}")
ids = decoding.generate(lm, Params((), (), trained), [eos], jax.random.key(1), length=40)
print(" ".join(symbols[i] for i in ids) if symbols else ids)

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
