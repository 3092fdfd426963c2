"""What gradients do through time, for any cell."""

from lmjax.analysis.clipping import ClipState, clip_by_global_norm

__all__ = ["ClipState", "clip_by_global_norm"]
