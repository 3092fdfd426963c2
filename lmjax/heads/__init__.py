"""Heads: distributions over the next token."""

from lmjax.heads.head import Head
from lmjax.heads.softmax import Softmax, softmax, tied

__all__ = ["Head", "Softmax", "softmax", "tied"]
