"""Figures: each takes values that the library computed, draws them on one axes and returns it."""

from lmjax.plot.gradients import (
    contribution_bars,
    eigenvalues,
    gate_scatter,
    lag_profiles,
    state_gradients,
    truncation_curve,
)
from lmjax.plot.maps import error_surface, gradient_map
from lmjax.plot.ngram import ngram_perplexity, ngram_sparsity, ngram_storage
from lmjax.plot.states import fixed_points
from lmjax.plot.style import STYLE, data_uri, panels, save_figures
from lmjax.plot.systems import systems
from lmjax.plot.training import clip_timeline, learning_curves
from lmjax.plot.weights import position_weights
from lmjax.plot.words import word_map

__all__ = [
    "STYLE",
    "clip_timeline",
    "contribution_bars",
    "data_uri",
    "eigenvalues",
    "error_surface",
    "fixed_points",
    "gate_scatter",
    "gradient_map",
    "lag_profiles",
    "learning_curves",
    "ngram_perplexity",
    "ngram_sparsity",
    "ngram_storage",
    "panels",
    "position_weights",
    "save_figures",
    "state_gradients",
    "systems",
    "truncation_curve",
    "word_map",
]
