"""The gradient through time of any recurrent cell: pure functions of `(cell, params, state, xs)`."""

from lmjax.analysis.clipping import ClipState, clip_by_global_norm
from lmjax.analysis.flow import StateGradients, state_gradients
from lmjax.analysis.gates import Horizon, Saturation, gate_saturation, gate_values, memory_horizon, time_constants
from lmjax.analysis.jacobian import jacobian_product_norms, step_jacobians
from lmjax.analysis.monitor import Monitor, MonitorState, monitor
from lmjax.analysis.scaled import Scaled
from lmjax.analysis.spectrum import RecurrentSpectrum, recurrent_spectrum
from lmjax.analysis.surface import Descent, descend, error_surface, toy_error

__all__ = [
    "ClipState",
    "Descent",
    "Horizon",
    "Monitor",
    "MonitorState",
    "RecurrentSpectrum",
    "Saturation",
    "Scaled",
    "StateGradients",
    "clip_by_global_norm",
    "descend",
    "error_surface",
    "gate_saturation",
    "gate_values",
    "jacobian_product_norms",
    "memory_horizon",
    "monitor",
    "recurrent_spectrum",
    "state_gradients",
    "step_jacobians",
    "time_constants",
    "toy_error",
]
