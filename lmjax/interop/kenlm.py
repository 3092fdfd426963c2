"""KenLM's binary files, read by the package `kenlm` (`pip install kenlm`)."""

from __future__ import annotations

import numpy as np

from lmjax.data import Vocabulary

__all__ = ["kenlm_log_prob"]


def kenlm_log_prob(path, vocab: Vocabulary, ids) -> np.ndarray:
    """Score a text with a model that KenLM has compiled, or with an ARPA file.

    What `ngram.log_prob` does with a model of ours. A binary file gives scores, one word at a time,
    and does not give its n-grams back: to have a model under jit, read the ARPA file it was made
    from.

    Args:
        path: the file.
        vocab: the words of the ids, of level "word".
        ids: int `[N]`.

    Returns:
        Natural log-probabilities float64 `[N]`.

    Raises:
        ValueError: the vocabulary is not one of words.
        OSError: the file cannot be read.
    """
    import kenlm

    if vocab.level != "word":
        raise ValueError(f"kenlm: the vocabulary's level must be 'word', got {vocab.level!r}")
    ids = np.asarray(ids)
    model = kenlm.Model(str(path))
    logp: list[float] = []
    for sentence in np.split(ids, np.flatnonzero(ids == vocab.eos) + 1):
        ended = len(sentence) > 0 and sentence[-1] == vocab.eos
        words = " ".join(vocab.symbols[i] for i in sentence[: len(sentence) - ended])
        logp += [score for score, _, _ in model.full_scores(words, bos=True, eos=bool(ended))]
    return np.log(10) * np.array(logp)
