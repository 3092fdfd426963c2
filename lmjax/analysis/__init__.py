"""What gradients do through time, for any recurrent cell: pure functions of `(cell, params, state, xs)`."""

from lmjax.analysis.clipping import ClipState, clip_by_global_norm
from lmjax.analysis.flow import StateGradients, state_gradients
from lmjax.analysis.jacobian import jacobian_product_norms, step_jacobians
from lmjax.analysis.scaled import Scaled
from lmjax.analysis.spectrum import RecurrentSpectrum, recurrent_spectrum

__all__ = [
    "ClipState",
    "RecurrentSpectrum",
    "Scaled",
    "StateGradients",
    "clip_by_global_norm",
    "jacobian_product_norms",
    "recurrent_spectrum",
    "state_gradients",
    "step_jacobians",
]
