"""Decoding: text from a language model, sampled, by beam search, or as suggestions."""

from lmjax.decoding.beam import Hypotheses, beam_search, greedy
from lmjax.decoding.sampling import generate, truncate
from lmjax.decoding.suggestions import suggest
from lmjax.decoding.translate import Translation, translate

__all__ = [
    "Hypotheses",
    "Translation",
    "beam_search",
    "generate",
    "greedy",
    "suggest",
    "translate",
    "truncate",
]
