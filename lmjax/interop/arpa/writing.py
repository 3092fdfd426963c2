"""Writing ARPA files, byte by byte as KenLM's lmplz does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lmjax.data import EOS, Vocabulary, tokenize
from lmjax.data.files import create_text, excerpt
from lmjax.interop.arpa.words import BOS, END, UNK_IN_CAPITALS
from lmjax.models.ngram import Estimate, NGram, listing

__all__ = ["write_arpa"]


def write_arpa(path, model: Estimate | NGram, vocab: Vocabulary):
    """Write a model, or an estimate as it is, as an ARPA file.

    It is compressed if the name ends in `.gz`, `.bz2`, `.xz` or `.zst`. Values are shortest
    decimals, which give the same float32, written as lmplz writes them. The n-grams of a model or
    of `count` are sorted by suffix, as KenLM sorts them. `<eos>` is written `</s>`.

    Raises:
        ValueError: the format cannot hold the model: a weight is 0, a value undefined, contexts not
            in the model have a weight (stupid backoff), or a word contains white space or is
            reserved.
    """
    import polars as pl

    entries, _, unseen = listing(model) if isinstance(model, NGram) else model
    if len(entries[0].word) != len(vocab) + 1:
        size = len(entries[0].word) - 1
        raise ValueError(f"arpa: a model of {size} words and a vocabulary of {len(vocab)}")
    for symbol in vocab.symbols:
        reserved = symbol in (BOS, END, UNK_IN_CAPITALS)
        if symbol != vocab.end and (reserved or tokenize(symbol) != [symbol, EOS]):
            raise ValueError(f"arpa: the format has no place for the word {excerpt(symbol)!r}")
    held = [(x.log10p <= 0).all() and np.isfinite(x.log10b).all() for x in entries]
    if unseen != 0 or not all(held):
        raise ValueError(
            "arpa: no place in the format for weights of 0 or of unseen contexts, "
            "nor for probabilities that are none"
        )
    words = pl.Series([BOS, *(END if symbol == vocab.end else symbol for symbol in vocab.symbols)])

    def sections():
        text, last = words, " " + words
        for k, (word, context, log10p, log10b) in enumerate(entries, 1):
            text = text.gather(context) + last.gather(word) if k > 1 else text
            lines = pl.DataFrame({"log10p": log10p, "text": text})
            if len(log10b):
                lines = lines.with_columns(pl.Series("log10b", log10b))
            if k == 1:  # `<unk>` before `<s>`, as in KenLM's files
                lines = lines[[1, 0, *range(2, len(lines))]]
            yield f"\n\\{k}-grams:\n", lines

    def write(section):
        title, lines = section
        file.write(title.encode())
        lines = lines.with_columns(map(_decimals, lines.select(pl.col(pl.Float32))))
        lines.write_csv(
            file, include_header=False, separator="\t", null_value="0", quote_style="never"
        )

    # a thread writes while the words of the longer n-grams are joined
    with create_text(path) as file, ThreadPoolExecutor(1) as writer:
        sizes = [f"ngram {k}={len(x.word)}\n" for k, x in enumerate(entries, 1)]
        file.write(("\\data\\\n" + "".join(sizes)).encode())
        for _ in writer.map(write, sections()):
            pass
        file.write(b"\n\\end\\\n")


def _decimals(column):
    """Return a column of float32 as one that is written as lmplz writes it, 0 as null.

    Polars writes the same digits but for whole numbers, -1.0 and -1e+20 for -1 and
    -100000000000000000000: a column that has any becomes one of strings.
    """
    import polars as pl

    column = column.replace(0, None)
    whole = column == column.round()
    if not whole.any():
        return column
    texts = column.cast(pl.String)
    old = texts.filter(whole).unique()
    return texts.replace(old, pl.Series([_whole(text) for text in old]))


def _whole(text: str) -> str:
    value = np.float32(text)
    if np.isfinite(value) and abs(value) < 1e21:
        return np.format_float_positional(value, trim="-")
    return text.replace("e+", "e")
