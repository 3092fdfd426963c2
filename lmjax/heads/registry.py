"""Every head by name: `n, vocab_size -> Head`. A new head is one file and one line here."""

from collections.abc import Callable
from functools import partial

from lmjax.heads.adaptive import adaptive
from lmjax.heads.class_factored import class_factored
from lmjax.heads.head import Head
from lmjax.heads.sampled import blackout, nce, sampled
from lmjax.heads.softmax import softmax, tied

__all__ = ["HEADS"]

HEADS: dict[str, Callable[[int, int], Head]] = {
    "softmax": softmax,
    "tied": lambda n, vocab_size: tied(vocab_size),
    "adaptive": adaptive,
    "sampled": sampled,
    "tied_sampled": partial(sampled, share_embedding=True),
    "nce": nce,
    "blackout": blackout,
    "class_factored": class_factored,
}
