"""Language models: an embedding, a cell and a head."""

from lmjax.models import maxent, ngram, snm, translation
from lmjax.models.as_cell import as_cell
from lmjax.models.cache import cache_log_prob, with_cache
from lmjax.models.language_model import (
    LanguageModel,
    Params,
    log_prob,
    lookup,
    loss,
    next_log_probs,
    rows,
    states,
    vocab_size,
)
from lmjax.models.mixture import Mixture, join, mixture, mixture_weights
from lmjax.models.recurrent import recurrent
from lmjax.models.regularisation import Dropout, Penalties

__all__ = [
    "Dropout",
    "LanguageModel",
    "Mixture",
    "Params",
    "Penalties",
    "as_cell",
    "cache_log_prob",
    "join",
    "log_prob",
    "lookup",
    "loss",
    "maxent",
    "mixture",
    "mixture_weights",
    "next_log_probs",
    "ngram",
    "recurrent",
    "rows",
    "snm",
    "states",
    "translation",
    "vocab_size",
    "with_cache",
]
