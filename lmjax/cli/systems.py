"""The systems of the lecture's table, and the numbers that were published for their like."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CAVEAT", "SYSTEMS", "Published", "System"]

CAVEAT = (
    "The published perplexities are of another text, the One Billion Word Benchmark, with another "
    "vocabulary, and of far larger models. They tell how the systems compare there, and nothing "
    "about the ones measured here."
)


class Published(NamedTuple):
    """A test perplexity on the One Billion Word Benchmark."""

    perplexity: float
    system: str  # what it was measured with
    source: str


class System(NamedTuple):
    """A system of the table: a method of `lmjax ngram fit`, or a recipe of `lmjax train`."""

    title: str
    method: str | None = None  # None is the recipe of the system's name
    published: Published | None = None


CHELBA = "Chelba et al. (2013)"
JOZEFOWICZ = "Jozefowicz et al. (2016)"

SYSTEMS: dict[str, System] = {
    "kn5": System(
        "modified Kneser-Ney 5-gram",
        "mkn",
        Published(67.6, "KN5, 1.1 billion n-grams; the first of ten held-out parts alone", CHELBA),
    ),
    "snm": System(
        "SNM, n-grams and skip-grams",
        "snm",
        Published(52.9, "SNM10-skip, 33 billion links", "Shazeer, Pelemans and Chelba (2014)"),
    ),
    "window": System("fixed window"),
    "rnn_blackout": System(
        "RNN, BlackOut",
        published=Published(
            68.3,
            "RNN-2048; probably of a vocabulary of a million words, so not quite comparable with "
            "the other published numbers",
            "Ji et al. (2016)",
        ),
    ),
    "rnn_maxent": System(
        "RNN with maximum-entropy features",
        published=Published(
            51.3,
            "RNN-1024 with features of 9-grams and of the last 15 words in any order, 20 billion "
            "weights",
            CHELBA,
        ),
    ),
    "lstm": System(
        "LSTM with projection",
        published=Published(43.7, "LSTM-2048-512, its hidden vector projected to 512", JOZEFOWICZ),
    ),
    "lstm2": System(
        "LSTM with projection, 2 layers",
        published=Published(
            30.0,
            "LSTM-8192-1024, 2 layers, words read by a network over their characters; 30.6 with "
            "word vectors as here",
            JOZEFOWICZ,
        ),
    ),
    "adaptive_small": System(
        "LSTM with projection, adaptive softmax",
        published=Published(43.9, "LSTM-2048, word vectors of 256", "Grave et al. (2017)"),
    ),
    "adaptive_large": System(
        "LSTM, adaptive softmax, 2 layers",
        published=Published(39.8, "LSTM-2048, 2 layers", "the blog of Grave et al. (2016)"),
    ),
}
