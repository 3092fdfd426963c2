"""Language models: an embedding, a cell and a head."""

from lmjax.models.language_model import Dropout, LanguageModel, Params, log_prob, loss, next_log_probs, states
from lmjax.models.recurrent import recurrent

__all__ = ["Dropout", "LanguageModel", "Params", "log_prob", "loss", "next_log_probs", "recurrent", "states"]
