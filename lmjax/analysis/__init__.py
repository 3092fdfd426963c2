"""What gradients do through time, for any cell."""

from lmjax.analysis.clipping import ClipState, clip_by_global_norm
from lmjax.analysis.gates import Horizon, Saturation, gate_saturation, gate_values, memory_horizon, time_constants
from lmjax.analysis.monitor import Monitor, MonitorState, monitor
from lmjax.analysis.surface import Descent, descend, error_surface, toy_error

__all__ = [
    "ClipState",
    "Descent",
    "Horizon",
    "Monitor",
    "MonitorState",
    "Saturation",
    "clip_by_global_norm",
    "descend",
    "error_surface",
    "gate_saturation",
    "gate_values",
    "memory_horizon",
    "monitor",
    "time_constants",
    "toy_error",
]
