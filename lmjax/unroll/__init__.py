"""Running a cell over time."""

from lmjax.cell import Gradients, record, scan, unroll

__all__ = ["Gradients", "record", "scan", "unroll"]
