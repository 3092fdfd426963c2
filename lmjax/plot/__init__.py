"""Figures: each takes values that the library computed, draws them on one axes and returns it."""

from lmjax.plot.gradients import eigenvalues, lag_profiles, state_gradients
from lmjax.plot.style import STYLE, data_uri
from lmjax.plot.training import clip_timeline, learning_curves

__all__ = ["STYLE", "clip_timeline", "data_uri", "eigenvalues", "lag_profiles", "learning_curves", "state_gradients"]
