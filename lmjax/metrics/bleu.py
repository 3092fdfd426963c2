"""BLEU: how much of a translation is in its references, by n-grams of tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from lmjax.metrics.signature import signature

__all__ = ["Bleu", "bleu"]

ORDER = 4

Sentence = Sequence[Hashable]


class Bleu(NamedTuple):
    """A BLEU score and what it is made of."""

    bleu: float  # 0 to 100, with the standard brevity penalty exp(1 - r/c)
    bleu_lecture: float  # 0 to 100, with the lecture's min(1, c/r): higher where c < r
    precisions: tuple[float, ...]  # p_1 to p_4
    length_ratio: float  # c/r
    length: int  # c, tokens of the hypotheses
    reference_length: int  # r, of the references
    signature: str

    def __str__(self):
        shares = "/".join(f"{100 * p:.1f}" for p in self.precisions)
        return (
            f"BLEU {self.bleu:.2f} (precisions {shares}, length ratio {self.length_ratio:.3f} = "
            f"{self.length}/{self.reference_length}); "
            f"with the lecture's brevity penalty {self.bleu_lecture:.2f}\n{self.signature}"
        )


def bleu(
    hypotheses: Sequence[Sentence], references: Sequence[Sequence[Sentence]], **fields
) -> Bleu:
    """Return the BLEU score of a corpus of sentences that are split into tokens.

        BLEU = BP (p_1 p_2 p_3 p_4)^{1/4},    BP = min(1, exp(1 - r/c))

    p_n is the share of the n-grams of all hypotheses that are in the references, each counted no
    more often than in the one reference that has it most often. c is the number of tokens of the
    hypotheses, r that of the references, in each sentence the one closest to its hypothesis in
    length, the shorter of two. The lecture has BP = min(1, c/r), which is never less, and the same
    where c >= r.

    Nothing is smoothed: without one match of some length the score is 0. It is one of a corpus,
    no mean over sentences. Tokens are compared as they are; how a text is split decides the score,
    so scores are compared under one tokenisation alone. For raw text, smoothing, chrF and tests of
    significance take sacrebleu.

    Args:
        hypotheses: translations, each a list of tokens (words or ids).
        references: for each hypothesis one or several right translations, each a list of tokens.
        **fields: what the signature shall name besides, e.g. `corpus="..."`, and `tok`, how the
            text was split.

    >>> result = bleu(["the cat sat on the mat".split()], [["the cat sat on a mat".split()]])
    >>> f"{result.bleu:.2f}", result.length_ratio
    ('53.73', 1.0)
    >>> short = bleu(["the cat sat on".split()], [["the cat sat on the mat".split()]])
    >>> f"{short.bleu:.2f} {short.bleu_lecture:.2f}"
    '60.65 66.67'

    Raises:
        ValueError: there is no hypothesis, not as many lists of references, a sentence without a
            reference, or a text where its tokens are meant.

    References: Papineni, Roukos, Ward and Zhu (2002); Post (2018) for the signature.
    """
    _check(hypotheses, references)
    matches, totals, length, reference_length = [0] * ORDER, [0] * ORDER, 0, 0
    for hypothesis, several in zip(hypotheses, references, strict=True):
        c = len(hypothesis)
        length += c
        reference_length += min(map(len, several), key=lambda r: (abs(r - c), r))
        for n in range(1, ORDER + 1):
            own, most = _ngrams(hypothesis, n), Counter[tuple]()
            for reference in several:
                most |= _ngrams(reference, n)
            matches[n - 1] += (own & most).total()
            totals[n - 1] += own.total()
    precisions = tuple(m / max(t, 1) for m, t in zip(matches, totals, strict=True))
    mean = math.exp(sum(map(math.log, precisions)) / ORDER) if all(precisions) else 0.0
    ratio = length / reference_length if reference_length else math.inf
    standard = min(1.0, math.exp(1 - 1 / ratio)) if ratio else 0.0
    each = max(map(len, references))
    said = {"sentences": len(hypotheses), "references": each, "smooth": "none", "tok": "none"}
    return Bleu(
        100 * standard * mean,
        100 * min(1.0, ratio) * mean,
        precisions,
        ratio,
        length,
        reference_length,
        signature(**said | fields),
    )


def _ngrams(tokens: Sentence, n: int) -> Counter:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _check(hypotheses, references) -> None:
    if not len(hypotheses):
        raise ValueError("hypotheses: at least one is needed, got none")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"references: a list for each of the {len(hypotheses)} hypotheses, "
            f"got {len(references)}"
        )
    for i, (hypothesis, several) in enumerate(zip(hypotheses, references, strict=True)):
        if isinstance(several, str) or not len(several):
            raise ValueError(f"references[{i}]: a list of one reference at least, got {several!r}")
        for name, tokens in (
            (f"hypotheses[{i}]", hypothesis),
            *((f"references[{i}][{k}]", tokens) for k, tokens in enumerate(several)),
        ):
            if not isinstance(tokens, Sequence) or isinstance(tokens, str):
                raise ValueError(f"{name}: must be a list of tokens, got {tokens!r}")
