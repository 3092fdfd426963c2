"""Every head by name: `n, vocab_size -> Head`. A new head is one file and one line here."""

from collections.abc import Callable
from functools import partial

from lmjax.heads.adaptive import adaptive, tied_adaptive
from lmjax.heads.class_factored import class_factored
from lmjax.heads.head import Head
from lmjax.heads.sampled import blackout_loss, nce_loss, sampled
from lmjax.heads.softmax import softmax, tied

__all__ = ["HEADS"]

HEADS: dict[str, Callable[[int, int], Head]] = {
    "softmax": softmax,
    "tied": lambda n, vocab_size: tied(vocab_size),
    "adaptive": adaptive,
    "tied_adaptive": tied_adaptive,
    "sampled": sampled,
    "tied_sampled": partial(sampled, share_embedding=True),
    "nce": partial(sampled, loss=nce_loss),
    "blackout": partial(sampled, loss=blackout_loss),
    "class_factored": class_factored,
}
