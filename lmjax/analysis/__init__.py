"""What gradients do through time, for any cell."""

from lmjax.analysis.clipping import ClipState, clip_by_global_norm
from lmjax.analysis.gates import Horizon, Saturation, gate_saturation, gate_values, memory_horizon, time_constants

__all__ = [
    "ClipState",
    "Horizon",
    "Saturation",
    "clip_by_global_norm",
    "gate_saturation",
    "gate_values",
    "memory_horizon",
    "time_constants",
]
