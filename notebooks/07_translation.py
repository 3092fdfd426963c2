# %% [markdown]
# # Translation
#
# A translator is a language model of the target sentence, given the source. An encoder reads the
# source; the decoder, a recurrent language model, starts from what the encoder saw and, with
# attention, looks back at it for every word. BLEU says how much of the translations stands in their
# references.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from lmjax import analysis, cells, decoding, metrics, models, plot, train
from lmjax.data import parallel
from lmjax.data.number_words import english, korean, number_words
from lmjax.data.tokenizer import learn_tokenizer
from lmjax.models import translation

FAST = bool(os.environ.get("LMJAX_FAST"))  # small sizes, for the tests

# %% [markdown]
# ## A pair of languages without a download
#
# Numbers in English and in Korean words. English groups three digits, Korean four: words change
# places, and the first Korean word depends on how many groups follow. References are exact.

# %%
for number in (21, 10_016, 123_456_789):
    print(f"{number:>11,}  {' '.join(english(number))}  →  {' '.join(korean(number))}")

splits = parallel.split_pairs(number_words(100 if FAST else 20_000))
source, target = map(learn_tokenizer, zip(*splits.train, strict=True))
ids = [[(source.encode(x), target.encode(y)) for x, y in part] for part in splits]
print(f"{len(ids[0]):,} pairs to train on, {len(ids[2]):,} to test with")

# %% [markdown]
# ## Encoder, decoder, attention
#
# Both are made of cells. The bidirectional encoder runs one from each end, so that every word's
# vector knows its whole sentence; it may do so because the source is given, and is no language
# model: that would have to predict what it has read.

# %%
n = 8 if FAST else 96
encoder = cells.bidirectional(cells.gru(n, n), cells.gru(n, n))
model = translation.translator(
    encoder,
    cells.gru(n, n),
    source_size=len(source.vocab),
    target_size=len(target.vocab),
    embedding_size=n,
    attention=translation.luong,
    dropout=models.Dropout(input=0.1, output=0.1),
)
try:
    models.recurrent(encoder, vocab_size=10)
except ValueError as error:
    print(error)

epochs, tokens, buckets = (1, 2400, 1) if FAST else (6, 2000, 4)
lengths = parallel.bucket_lengths(ids[0], buckets)
steps = epochs * parallel.batch_count(ids[0], tokens=tokens, lengths=lengths)
fit = train.fit_translator(
    model,
    *ids[:2],
    jax.random.key(0),
    epochs=epochs,
    tokens=tokens,
    buckets=buckets,
    transform=train.optimizer("adam", 4e-3, steps=steps),
)
print(f"validation perplexity {fit.valid:.3f}")

# %% [markdown]
# ## BLEU, and its two brevity penalties
#
# BLEU multiplies the geometric mean of the n-gram precisions by a penalty for short translations.
# The standard one is exp(1 - r/c), the lecture's min(1, c/r), which is never less: quote the first,
# with its signature.

# %%
test = ids[2][: 1 if FAST else 300]
found = decoding.translate(model, fit.params, [x for x, _ in test], end=target.vocab.eos)
hypotheses = [best[0].ids for best in found]
references = [[y[:-1]] for _, y in test]
print(metrics.bleu(hypotheses, references, pairs="number words", beam=5))
exact = sum(h == r for h, (r,) in zip(hypotheses, references, strict=True))
print(f"{exact} of {len(test)} are right to the last word")

# %%
for ratio in (0.95, 0.8, 0.5):
    cut = [y[: round(ratio * len(y))] for (y,) in references]
    score = metrics.bleu(cut, references)
    print(
        f"references cut to {score.length_ratio:.2f} of their length: BLEU {score.bleu:.1f}, "
        f"by the lecture's penalty {score.bleu_lecture:.1f}"
    )

# %% [markdown]
# ## Where it looks
#
# Attention is a distribution over the source for every word that is written. The vectors it reads
# are the encoder's outputs, each of which has seen the whole sentence, so it says where the decoder
# looks, not what it needs to know.

# %%
ROMAN = dict(
    zip(
        "일이삼사오육칠팔구", ["il", "i", "sam", "sa", "o", "yuk", "chil", "pal", "gu"], strict=True
    )
)
ROMAN |= {"십": "sip", "백": "baek", "천": "cheon", "만": "man", "억": "eok", "<eos>": "end"}
x, y = (source.encode(" ".join(english(1_234_567))), target.encode(" ".join(korean(1_234_567))))
words = (
    [source.vocab.symbols[i] for i in x],
    [ROMAN.get(target.vocab.symbols[i], "?") for i in y],
)
((_, batch),) = parallel.bucketed([(x, y)], tokens=1)
weights = translation.attention_weights(model, fit.params, batch)[: len(y), 0, : len(x)]
plot.word_map(weights, *words, label="attention $a_{ij}$", limits=(0, 1))

# %% [markdown]
# ## By which route a gradient comes
#
# The loss of word i reaches source word j on two routes: through what attention reads, and through
# the decoder's first state and its recurrence. The two parts of the gradient sum to the whole,
# exactly. Without attention all would come through the recurrence.

# %%
read, losses, xs = translation.of_source(model, fit.params, x, y)
gradients = jax.jit(lambda xs: analysis.source_gradients(read, losses, xs))(xs)
whole = jnp.linalg.norm(gradients.attention + gradients.recurrence, axis=-1)
plot.word_map(whole, *words, label=r"$\|\partial J_i/\partial x_j\|$")

# %%
shares = analysis.route_shares(gradients)
plot.word_map(shares, *words, label="share through attention", limits=(-1, 2), cmap="RdBu_r")

# %% [markdown]
# ## The same encoder tags
#
# A linear layer over an encoder's vectors gives every step a tag. Here it is whether the next
# number is larger than this one: from one end that is a guess, right three times in four.


# %%
def tagged(encoder, width, steps=2 if FAST else 300):
    """Train a tagger; return the share of tags that are right at the end."""
    adam = optax.adam(0.01)

    def loss(params, key):
        xs = jax.random.normal(key, (20, 64, 1))
        logits, tags = encoder.encode(params[0], xs)[:-1] @ params[1], (xs[1:] > xs[:-1])[..., 0]
        right = ((logits > 0) == tags).mean()
        return optax.sigmoid_binary_cross_entropy(logits, tags).mean(), right

    def step(state, key):
        params, opt = state
        gradient, right = jax.grad(loss, has_aux=True)(params, key)
        updates, opt = adam.update(gradient, opt)
        return (optax.apply_updates(params, updates), opt), right

    params = encoder.init(jax.random.key(0)), jnp.zeros(width)
    keys = jax.random.split(jax.random.key(1), steps)
    return jax.lax.scan(step, (params, adam.init(params)), keys)[1][-1]


for name, encoder, width in (
    ("from one end", cells.unidirectional(cells.gru(1, 16)), 16),
    ("from both", cells.bidirectional(cells.gru(1, 8), cells.gru(1, 8)), 16),
):
    print(f"read {name}: {100 * tagged(encoder, width):.1f} % of the tags are right")

# %%
if "__file__" in globals():  # run as a script: what a notebook shows goes into files
    print(*plot.save_figures(Path("out/notebooks") / Path(__file__).stem), sep="\n")
