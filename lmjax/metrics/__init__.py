"""Metrics: exact perplexity, also of models that learn as they read, BLEU, signatures."""

from lmjax.metrics.bleu import Bleu, bleu
from lmjax.metrics.cache import CachePerplexity, cache_perplexity
from lmjax.metrics.dynamic import dynamic_perplexity
from lmjax.metrics.perplexity import (
    Perplexity,
    perplexity,
    summary,
    token_features,
    token_log_probs,
    unigram_perplexity,
)
from lmjax.metrics.signature import signature

__all__ = [
    "Bleu",
    "CachePerplexity",
    "Perplexity",
    "bleu",
    "cache_perplexity",
    "dynamic_perplexity",
    "perplexity",
    "signature",
    "summary",
    "token_features",
    "token_log_probs",
    "unigram_perplexity",
]
