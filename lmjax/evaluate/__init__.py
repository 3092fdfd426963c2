"""Perplexity, generation, suggestions."""

from lmjax.evaluate.generate import generate, suggest, truncate
from lmjax.evaluate.perplexity import Perplexity, perplexity, signature, unigram_perplexity

__all__ = ["Perplexity", "generate", "perplexity", "signature", "suggest", "truncate", "unigram_perplexity"]
