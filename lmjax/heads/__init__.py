"""Heads: distributions over the next token."""

from lmjax.heads.adaptive import Adaptive, Tail, adaptive, default_cutoffs
from lmjax.heads.head import Head
from lmjax.heads.registry import HEADS
from lmjax.heads.sampled import sampled, sampled_loss, zipf_log_prob, zipf_sample
from lmjax.heads.softmax import Softmax, softmax, softmax_log_prob, softmax_loss, tied

__all__ = [
    "HEADS",
    "Adaptive",
    "Head",
    "Softmax",
    "Tail",
    "adaptive",
    "default_cutoffs",
    "sampled",
    "sampled_loss",
    "softmax",
    "softmax_log_prob",
    "softmax_loss",
    "tied",
    "zipf_log_prob",
    "zipf_sample",
]
