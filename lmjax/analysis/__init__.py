"""The gradient through time of any recurrent cell: pure functions of `(cell, params, state, xs)`."""

from lmjax.analysis.flow import StateGradients, state_gradients
from lmjax.analysis.jacobian import jacobian_product_norms, step_jacobians
from lmjax.analysis.scaled import Scaled
from lmjax.analysis.spectrum import RecurrentSpectrum, recurrent_spectrum

__all__ = [
    "RecurrentSpectrum",
    "Scaled",
    "StateGradients",
    "jacobian_product_norms",
    "recurrent_spectrum",
    "state_gradients",
    "step_jacobians",
]
