"""ARPA files: the text format that n-gram toolkits share."""

from lmjax.interop.arpa.reading import read_arpa
from lmjax.interop.arpa.writing import write_arpa

__all__ = ["read_arpa", "write_arpa"]
