"""N-gram language models: counting, estimation, lookups under jit."""

from lmjax.models.ngram.backoff import katz, stupid_backoff
from lmjax.models.ngram.counts import Counts, Grams, count
from lmjax.models.ngram.external import count_on_disk, count_with_spark
from lmjax.models.ngram.files import load, save
from lmjax.models.ngram.kneser_ney import (
    FALLBACK,
    discounts,
    kept_words,
    kneser_ney,
    modified_kneser_ney,
)
from lmjax.models.ngram.language_model import ngram
from lmjax.models.ngram.lookup import index, listing, log_prob, log_probs, matches
from lmjax.models.ngram.model import Entries, Estimate, Level, NGram, Quantised
from lmjax.models.ngram.quantisation import quantise
from lmjax.models.ngram.reports import Sparsity, Storage, sparsity, storage
from lmjax.models.ngram.smoothing import NoDiscounts, add_delta, mle
from lmjax.models.ngram.text import read_text

__all__ = [
    "FALLBACK",
    "Counts",
    "Entries",
    "Estimate",
    "Grams",
    "Level",
    "NGram",
    "NoDiscounts",
    "Quantised",
    "Sparsity",
    "Storage",
    "add_delta",
    "count",
    "count_on_disk",
    "count_with_spark",
    "discounts",
    "index",
    "katz",
    "kept_words",
    "kneser_ney",
    "listing",
    "load",
    "log_prob",
    "log_probs",
    "matches",
    "mle",
    "modified_kneser_ney",
    "ngram",
    "quantise",
    "read_text",
    "save",
    "sparsity",
    "storage",
    "stupid_backoff",
]
