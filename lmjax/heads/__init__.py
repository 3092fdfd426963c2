"""Heads: distributions over the next token."""

from lmjax.heads.adaptive import Adaptive, Tail, adaptive, default_cutoffs
from lmjax.heads.class_factored import ClassFactored, class_factored
from lmjax.heads.head import Head
from lmjax.heads.proposals import Proposal, unigram, zipf
from lmjax.heads.registry import HEADS
from lmjax.heads.sampled import blackout_loss, nce_loss, sampled, sampled_loss
from lmjax.heads.softmax import Softmax, softmax, softmax_log_prob, softmax_loss, tied

__all__ = [
    "HEADS",
    "Adaptive",
    "ClassFactored",
    "Head",
    "Proposal",
    "Softmax",
    "Tail",
    "adaptive",
    "blackout_loss",
    "class_factored",
    "default_cutoffs",
    "nce_loss",
    "sampled",
    "sampled_loss",
    "softmax",
    "softmax_log_prob",
    "softmax_loss",
    "tied",
    "unigram",
    "zipf",
]
