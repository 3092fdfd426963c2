"""Metrics: exact perplexity, BLEU, and the signature that reproduces a number."""

from lmjax.metrics.bleu import Bleu, bleu
from lmjax.metrics.dynamic import dynamic_perplexity
from lmjax.metrics.perplexity import (
    Perplexity,
    perplexity,
    summary,
    token_log_probs,
    unigram_perplexity,
)
from lmjax.metrics.signature import signature

__all__ = [
    "Bleu",
    "Perplexity",
    "bleu",
    "dynamic_perplexity",
    "perplexity",
    "signature",
    "summary",
    "token_log_probs",
    "unigram_perplexity",
]
