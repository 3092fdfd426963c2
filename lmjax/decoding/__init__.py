"""Decoding: text from a language model, sampled or as suggestions for the next word."""

from lmjax.decoding.sampling import generate, truncate
from lmjax.decoding.suggestions import suggest

__all__ = ["generate", "suggest", "truncate"]
