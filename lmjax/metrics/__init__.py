"""Metrics: exact perplexity, also of models that learn as they read, and a number's signature."""

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
    "CachePerplexity",
    "Perplexity",
    "cache_perplexity",
    "dynamic_perplexity",
    "perplexity",
    "signature",
    "summary",
    "token_features",
    "token_log_probs",
    "unigram_perplexity",
]
