# %% [markdown]
# # N-gram language models
#
# A language model gives the probability of the next word. The first of the lecture's models
# counts: the probability of a word after the $n-1$ words before it is how often they were seen
# together, divided by how often the $n-1$ words were seen.
#
# $$
# P(w \mid \text{students opened their}) =
# \frac{\text{count}(\text{students opened their } w)}{\text{count}(\text{students opened their})}
# $$

# %%
import os
from pathlib import Path

import jax
import numpy as np

from lmjax import data, decoding, plot
from lmjax.models import Params, ngram

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %%
lines = [
    "the students opened their books",
    "the students opened their minds",
    "the teachers opened their books",
    "the students closed their books",
]
ids, vocab = ngram.read_text(lines)
counts = ngram.count(ids, 4, size=len(vocab), eos=vocab.eos)
model = ngram.index(ngram.mle(counts))
lm = ngram.ngram(len(vocab), 4, eos=vocab.eos)
prompt = [vocab.eos, *vocab.encode("the students opened their")[:-1]]
for word, p in decoding.suggest(lm, Params((), (), model), prompt, count=2):
    print(f"P({vocab.symbols[word]} | students opened their) = {p:.2f}")

# %% [markdown]
# ## Two sparsity problems
#
# A word that was never seen after these three has probability 0. After three words that were
# never seen together nothing can be said at all. In `lmjax` the first is a log-probability of
# $-\infty$, the second is no number.

# %%
for text in ("the students opened their laptops", "the teachers closed their books"):
    print(text, np.asarray(ngram.log_prob(model, vocab.encode(text))).round(2))

# %% [markdown]
# Both are the rule, not the exception. Take a real text, and ask of each of its n-grams whether
# it occurs in the training part.

# %%
if FAST:
    words = np.random.default_rng(0).zipf(1.5, 8000) % 50
    train, test, V, eos = words[:6000], words[6000:], 50, 1
    symbols = None
else:
    corpus = data.stdlib()
    train, test, V, eos = corpus.train, corpus.test, len(corpus.vocab), corpus.vocab.eos
    symbols = corpus.vocab
order = 5
counts = ngram.count(train, order, size=V, eos=eos)
kn = ngram.index(ngram.modified_kneser_ney(counts, fallback=ngram.FALLBACK))
unseen = ngram.sparsity(kn, test)
plot.ngram_sparsity(
    {"never seen": unseen.unseen_ngram, "its first n-1 words never seen": unseen.unseen_context}
)

# %% [markdown]
# ## Remedies
#
# The lecture names two: add a small $\delta$ to every count (smoothing), and condition on fewer
# words where the longer context was not seen (backoff). Interpolated Kneser-Ney smoothing does
# both at once, and takes for a shorter context not how often a word was seen, but after how many
# different words.

# %%
methods = {
    "add 0.01": lambda c: ngram.add_delta(c, 0.01),
    "modified Kneser-Ney": lambda c: ngram.modified_kneser_ney(c, fallback=ngram.FALLBACK),
}
perplexity: dict = {name: [] for name in methods}
total = []
for n in range(1, order + 1):
    counted = ngram.count(train, n, size=V, eos=eos)
    for name, estimate in methods.items():
        model = ngram.index(estimate(counted))
        perplexity[name].append(
            float(np.exp(-np.asarray(ngram.log_prob(model, test), float).mean()))
        )
    total.append(sum(ngram.storage(model).bytes))
plot.ngram_perplexity(perplexity)

# %% [markdown]
# ## Storage
#
# Every n-gram of the text must be kept, and there are more of them the longer they are.

# %%
plot.ngram_storage(ngram.storage(kn).ngrams, total)

# %% [markdown]
# In 8 bits a value is one of 256 for its length. The perplexity hardly changes.

# %%
small = ngram.quantise(kn)
for name, model in {"float32": kn, "8 bits": small}.items():
    nll = -np.asarray(ngram.log_prob(model, test), float).mean()
    print(f"{name}: {sum(ngram.storage(model).bytes) / 1e6:.1f} MB, perplexity {np.exp(nll):.1f}")

# %% [markdown]
# ## Incoherence
#
# What an n-gram model writes is surprisingly grammatical over a few words, and about nothing. A
# larger $n$ makes it read better, and more of it is recited: five words in a row that stand in the
# training text.

# %%
for n in (1, 2, 3, order):
    counted = ngram.count(train, n, size=V, eos=eos)
    model = ngram.index(ngram.modified_kneser_ney(counted, fallback=ngram.FALLBACK))
    lm = ngram.ngram(V, n, eos=eos)
    ids = decoding.generate(lm, Params((), (), model), [eos], jax.random.key(1), length=40)
    recited = np.mean(np.asarray(ngram.matches(kn, np.asarray(ids))[0]) == order)
    print(f"n = {n}, {recited:.0%} recited: {symbols.decode(ids) if symbols else ids}\n")

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
