"""Heads: distributions over the next token."""

from lmjax.heads.adaptive import Adaptive, Tail, adaptive, tied_adaptive
from lmjax.heads.class_factored import ClassFactored, class_factored
from lmjax.heads.cutoffs import Cost, cutoffs, default_cutoffs, measure_costs
from lmjax.heads.head import Embedding, Head
from lmjax.heads.proposals import Proposal, unigram, zipf
from lmjax.heads.registry import HEADS
from lmjax.heads.sampled import blackout_loss, nce_loss, sampled, sampled_loss
from lmjax.heads.softmax import Softmax, softmax, softmax_log_prob, softmax_loss, tied

__all__ = [
    "HEADS",
    "Adaptive",
    "ClassFactored",
    "Cost",
    "Embedding",
    "Head",
    "Proposal",
    "Softmax",
    "Tail",
    "adaptive",
    "blackout_loss",
    "class_factored",
    "cutoffs",
    "default_cutoffs",
    "measure_costs",
    "nce_loss",
    "sampled",
    "sampled_loss",
    "softmax",
    "softmax_log_prob",
    "softmax_loss",
    "tied",
    "tied_adaptive",
    "unigram",
    "zipf",
]
