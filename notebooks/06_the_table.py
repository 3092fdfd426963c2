# %% [markdown]
# # The table
#
# The lecture's last slide on language models puts eight systems side by side, by their test
# perplexity on the One Billion Word Benchmark. Each of them is in this library. Here is what each
# one is, what its published number means, and what comes out on another, smaller text.

# %%
import json
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from lmjax import data, metrics, models, plot, train
from lmjax.cli.systems import CAVEAT, SYSTEMS
from lmjax.models import Params, ngram

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %% [markdown]
# ## The systems
#
# Two of them count. **Kneser-Ney** takes the longest context that it has seen, discounts what was
# seen after it, and gives the rest to the shorter context, where a word counts for the number of
# words it has followed. **Sparse non-negative matrix** estimation (not factorisation: nothing is
# factored) adds up what all contexts say, skip-grams among them, with weights that are trained.
#
# The others are networks, and differ in the layer that costs most, the output over a large
# vocabulary. The **fixed window** of four words is the network before recurrence. **BlackOut**
# trains an RNN to tell the next word from words drawn at random. **Maximum entropy** features add
# the n-grams' own weights to the network's logits. Two LSTMs **project** their hidden vector to a
# narrow one, which the output layer reads, and draw the words of their sum too. The **adaptive
# softmax** is exact, and cheap for rare words.

# %%
for system in SYSTEMS.values():
    if system.published:
        perplexity, what, source = system.published
        print(f"{perplexity:5.1f}  {system.title}\n       published for: {what}. {source}")
    else:
        print(f"       {system.title}")

# %% [markdown]
# Three warnings. The numbers are the authors' own, each with its own vocabulary rules. A sampled
# loss is never a perplexity: BlackOut and the sampled softmax are scored with all words in the sum.
# And the order is not that of the years: the BlackOut RNN is behind Kneser-Ney.

# %%
print(CAVEAT)

# %% [markdown]
# ## Ours
#
# `lmjax table --corpus DIR` trains all of them on one text, each for half an hour at most on two
# cores, and writes `out/table/table.json`. If it is there, it is read here. Else two rows are made
# at a small size, as every row is: an n-gram model estimated, a network trained by a recipe, both
# scored on the same tokens, then mixed with the weights that the validation text asks for.


# %%
def small_table():
    text, size, scored = data.stdlib(), *((1_000, 500) if FAST else (60_000, None))
    text = text._replace(
        train=text.train[:size], valid=text.valid[:scored], test=text.test[:scored]
    )
    V, eos = len(text.vocab), text.vocab.eos
    recipe = train.Recipe(
        train.Model(hidden=4 if FAST else 64, head="tied"),
        train.Training(epochs=1 if FAST else 3, batch_size=16, lr=8e-3),
    )

    def kneser_ney():
        counts = ngram.count(text.train, 5, size=V, eos=eos)
        model = ngram.index(ngram.modified_kneser_ney(counts, fallback=ngram.FALLBACK))
        return ngram.ngram(V, 5, eos=eos), Params((), (), model)

    def lstm():
        lm, options = train.plan(recipe, text)
        return lm, train.fit(lm, text, jax.random.key(0), **options).params

    rows, logp = [], []

    def add(name, seconds, test):
        perplexity = metrics.summary(test, test > 0, seconds=seconds, signature="").perplexity
        rows.append({"system": name, "perplexity": perplexity, "seconds": seconds})

    for name, make in {"modified Kneser-Ney 5-gram": kneser_ney, "LSTM": lstm}.items():
        begin = time.perf_counter()
        lm, params = make()
        seconds = time.perf_counter() - begin
        score = lambda ids, lm=lm, params=params: metrics.token_log_probs(
            lm, params, ids, start=eos
        )
        logp.append((score(text.valid), score(text.test)))
        add(name, seconds, logp[-1][1])
    valid, test = map(jnp.stack, zip(*logp, strict=True))
    weights = models.mixture_weights(valid)
    total = sum(row["seconds"] for row in rows)
    add("both mixed", total, jax.nn.logsumexp(test, 0, b=weights[:, None]))
    return {"corpus": f"{size:,} words of {text.name}", "rows": rows}


found = Path("out/table/table.json")
table = json.loads(found.read_text("utf-8")) if found.exists() else small_table()
print(f"test perplexities on {table['corpus']}")
for row in table["rows"]:
    print(f"{row['perplexity']:8.1f}  {row['system']}, {row['seconds']:,.0f} s")

# %% [markdown]
# ## What each costs
#
# A model that counts is made in seconds and stores every n-gram of its text; a network takes
# minutes to hours and stores what fits its weights. They err on different words, so their mixture
# is better than each.

# %%
points = {row["system"]: (row["seconds"], row["perplexity"]) for row in table["rows"]}
plot.systems(points, xlabel="seconds of estimation or training")

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
