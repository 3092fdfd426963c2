"""Text, corpora, pairs of sentences, and batches."""

from lmjax.data import number_words, parallel, tasks
from lmjax.data.batches import Batch, contiguous
from lmjax.data.corpora import Corpus, directory, one_split, stdlib
from lmjax.data.text import EOS, UNK, Vocabulary, build_vocabulary, read_lines, tokenize

__all__ = [
    "EOS",
    "UNK",
    "Batch",
    "Corpus",
    "Vocabulary",
    "build_vocabulary",
    "contiguous",
    "directory",
    "number_words",
    "one_split",
    "parallel",
    "read_lines",
    "stdlib",
    "tasks",
    "tokenize",
]
