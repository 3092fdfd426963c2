"""Language models: an embedding, a cell and a head."""

from lmjax.models import ngram
from lmjax.models.language_model import Dropout, LanguageModel, Params, log_prob, loss, next_log_probs, states
from lmjax.models.mixture import Mixture, join, mixture, mixture_weights
from lmjax.models.recurrent import recurrent

__all__ = [
    "Dropout",
    "LanguageModel",
    "Mixture",
    "Params",
    "join",
    "log_prob",
    "loss",
    "mixture",
    "mixture_weights",
    "next_log_probs",
    "ngram",
    "recurrent",
    "states",
]
