"""N-gram language models: counting, estimation, lookups under jit."""

from lmjax.models.ngram.counts import Counts, Grams, count
from lmjax.models.ngram.estimate import (
    add_delta,
    discounts,
    katz,
    kept_words,
    kneser_ney,
    mle,
    modified_kneser_ney,
    stupid_backoff,
)
from lmjax.models.ngram.external import count_on_disk, count_with_spark
from lmjax.models.ngram.files import load, save
from lmjax.models.ngram.model import (
    Entries,
    Estimate,
    Level,
    NGram,
    Quantised,
    index,
    listing,
    log_prob,
    log_probs,
    matches,
    ngram,
    quantise,
)
from lmjax.models.ngram.reports import Sparsity, Storage, sparsity, storage
from lmjax.models.ngram.text import read_text

__all__ = [
    "Counts",
    "Entries",
    "Estimate",
    "Grams",
    "Level",
    "NGram",
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
