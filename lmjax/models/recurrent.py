"""The recurrent language model: word vectors, any cell, any head."""

import math

import jax

from lmjax.cell import Cell
from lmjax.checks import check_positive
from lmjax.factory import factory
from lmjax.heads import Embedding, Head, softmax
from lmjax.models.language_model import LanguageModel, Params, lookup
from lmjax.models.language_model import vocab_size as size_of
from lmjax.models.regularisation import Dropout, Penalties

__all__ = ["recurrent"]


@factory
def recurrent(
    cell: Cell,
    *,
    vocab_size: int,
    embedding_size: int | None = None,
    head: Head | None = None,
    dropout: Dropout = Dropout(),
    penalties: Penalties = Penalties(),
    segment: int | None = None,
    dtype=None,
) -> LanguageModel:
    """Return the recurrent language model.

        e_t = E x_t,    s_t = cell(s_{t-1}, e_t),    P(x_{t+1}) = softmax(U read(s_t) + b)

    Args:
        cell: the recurrence; its input must have size `embedding_size`.
        vocab_size: V.
        embedding_size: size of a word vector, default the size of what the cell reads out.
        head: the distribution, default `heads.softmax`; `heads.tied(V)` takes E for U. Where it has
            an `embedding`, as `heads.tied_adaptive` has, this takes the place of E.
        dropout: rates for training.
        penalties: weights for training.
        segment: length k of the segments that training computes a second time on its way back, see
            `unroll`: for sequences too long for memory; k near sqrt(T) takes least.
        dtype: precision of the products in training, `jnp.bfloat16` where the backend gains from
            it: not a CPU without such instructions, nor small products on a GPU, which takes those
            of float32 in TF32 (an H200 gains nothing at n = 1024, B = 32; 16 % at n = 2048, B =
            256). What is trained, scored and saved stays float32.

    >>> from lmjax import cells
    >>> lm = recurrent(cells.lstm(4, 4), vocab_size=10)
    >>> params = lm.init(jax.random.key(0))
    >>> [p.shape for p in (params.embed, params.cell.w_h, params.head.w)]
    [(10, 4), (4, 16), (10, 4)]

    Raises:
        ValueError: `vocab_size` is below 2, a rate or a weight is out of range, there is dropout
            between the layers of a cell that has none, or the sizes of embedding, cell and head do
            not fit each other.

    References: Mikolov, Karafiat, Burget, Cernocky and Khudanpur (2010).
    """
    if vocab_size < 2:
        raise ValueError(f"recurrent: vocab_size must be at least 2, got {vocab_size}")
    sizes = {"embedding_size": embedding_size, "segment": segment}
    check_positive(**{name: size for name, size in sizes.items() if size is not None})
    _check(dropout, penalties, cell)

    def features(params):
        return cell.read(params, cell.initial_state(params))

    n = jax.eval_shape(lambda key: features(cell.init(key)), jax.random.key(0)).shape[-1]
    output = softmax(n, vocab_size) if head is None else head
    if output.embedding is not None and embedding_size not in (None, n):
        raise ValueError(
            f"recurrent: embedding_size: the head has an embedding of its own, of {n} as the "
            f"features, got {embedding_size}"
        )
    embedding_size = n if embedding_size is None else embedding_size
    embedding = output.embedding or Embedding(_table(vocab_size, embedding_size), lookup)

    def init(key) -> Params:
        k_embed, k_cell, k_head = jax.random.split(key, 3)
        return Params(embedding.init(k_embed), cell.init(k_cell), output.init(k_head))

    lm = LanguageModel(init, embedding.lookup, cell, output, dropout, penalties, segment, dtype)
    size = size_of(lm, jax.eval_shape(init, jax.random.key(0)))
    if size != vocab_size:
        raise ValueError(f"recurrent: the head has {size} words, vocab_size is {vocab_size}")
    return lm


def _table(vocab_size, n):
    return lambda key: jax.random.uniform(key, (vocab_size, n), minval=-0.1, maxval=0.1)


def _check(dropout: Dropout, penalties: Penalties, cell: Cell) -> None:
    for name, rate in dropout._asdict().items():
        if not 0 <= rate < 1:
            raise ValueError(f"recurrent: dropout.{name} must be in [0, 1), got {rate}")
    for name, weight in penalties._asdict().items():
        if not 0 <= weight < math.inf:
            raise ValueError(
                f"recurrent: penalties.{name} must be at least 0 and finite, got {weight}"
            )
    if dropout.between and len(cell.layers) < 2:
        raise ValueError(
            "recurrent: dropout.between must be 0 where the cell is no stack of layers, "
            f"got {dropout.between}"
        )
