"""Sparse non-negative matrix estimation: n-grams and skip-grams as features, weighted by counts.

Read on in this order: `features` (what is counted), `adjustment` (what is trained), `model` (what
is looked up).
"""

from lmjax.models.snm.adjustment import EDGES, Adjustment, LeftOut, left_out, loss, train
from lmjax.models.snm.features import Counts, Table, count, feature_types
from lmjax.models.snm.files import load, save
from lmjax.models.snm.model import SNM, Feature, fit, index, snm

__all__ = [
    "EDGES",
    "SNM",
    "Adjustment",
    "Counts",
    "Feature",
    "LeftOut",
    "Table",
    "count",
    "feature_types",
    "fit",
    "index",
    "left_out",
    "load",
    "loss",
    "save",
    "snm",
    "train",
]
