"""Translation: an encoder of the source, and a language model of the target that attends to it."""

from lmjax.models.translation.attention import Attention, additive, luong, weights
from lmjax.models.translation.model import (
    Given,
    Source,
    Translator,
    attention_weights,
    given,
    log_prob,
    loss,
    of_source,
    read,
    translator,
)

__all__ = [
    "Attention",
    "Given",
    "Source",
    "Translator",
    "additive",
    "attention_weights",
    "given",
    "log_prob",
    "loss",
    "luong",
    "of_source",
    "read",
    "translator",
    "weights",
]
