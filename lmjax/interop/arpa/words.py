"""What ARPA files and this library call the same words."""

from lmjax.data import EOS, UNK

__all__ = ["BOS", "END", "RENAMED", "UNK_IN_CAPITALS"]

BOS, END, UNK_IN_CAPITALS = "<s>", "</s>", "<UNK>"
RENAMED = {END: EOS, UNK_IN_CAPITALS: UNK}
