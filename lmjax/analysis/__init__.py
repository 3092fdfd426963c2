"""The gradient through time of any cell: pure functions of `(cell, params, state, xs)`."""

from lmjax.analysis.bptt import Contributions, bptt_contributions
from lmjax.analysis.clipping import ClipState, clip_by_global_norm
from lmjax.analysis.covariant import CovariantVectors, covariant_lyapunov_vectors
from lmjax.analysis.exploding import Descent, descend, error_surface, toy_error
from lmjax.analysis.fixed_points import FixedPoints, fixed_points
from lmjax.analysis.gates import (
    Horizon,
    Saturation,
    gate_saturation,
    gate_values,
    memory_horizon,
    time_constants,
)
from lmjax.analysis.jacobian import step_jacobians
from lmjax.analysis.jacobian_products import (
    NormProbes,
    SingularValues,
    jacobian_norm_probes,
    jacobian_product_norms,
    product_log_singular_values,
)
from lmjax.analysis.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from lmjax.analysis.monitor import Monitor, MonitorState, monitor
from lmjax.analysis.participation import participation_ratio
from lmjax.analysis.routes import detach
from lmjax.analysis.scaled import Scaled
from lmjax.analysis.source_routes import SourceGradients, route_shares, source_gradients
from lmjax.analysis.spectrum import (
    LinearModes,
    PascanuBounds,
    RecurrentSpectrum,
    linear_mode_decay,
    pascanu_bounds,
    recurrent_spectrum,
)
from lmjax.analysis.truncation import TruncationBias, truncation_bias
from lmjax.analysis.vanishing import (
    GradientBand,
    GradientMap,
    StateGradients,
    bidirectional_gradient_maps,
    input_gradient_map,
    recurrent_contribution_map,
    state_gradient_band,
    state_gradient_map,
    state_gradients,
)

__all__ = [
    "ClipState",
    "Contributions",
    "CovariantVectors",
    "Descent",
    "FixedPoints",
    "GradientBand",
    "GradientMap",
    "Horizon",
    "LinearModes",
    "LyapunovSpectrum",
    "Monitor",
    "MonitorState",
    "NormProbes",
    "PascanuBounds",
    "RecurrentSpectrum",
    "Saturation",
    "Scaled",
    "SingularValues",
    "SourceGradients",
    "StateGradients",
    "TruncationBias",
    "bidirectional_gradient_maps",
    "bptt_contributions",
    "clip_by_global_norm",
    "covariant_lyapunov_vectors",
    "descend",
    "detach",
    "error_surface",
    "fixed_points",
    "gate_saturation",
    "gate_values",
    "input_gradient_map",
    "jacobian_norm_probes",
    "jacobian_product_norms",
    "linear_mode_decay",
    "lyapunov_spectrum",
    "memory_horizon",
    "monitor",
    "participation_ratio",
    "pascanu_bounds",
    "product_log_singular_values",
    "recurrent_contribution_map",
    "recurrent_spectrum",
    "route_shares",
    "source_gradients",
    "state_gradient_band",
    "state_gradient_map",
    "state_gradients",
    "step_jacobians",
    "time_constants",
    "toy_error",
    "truncation_bias",
]
