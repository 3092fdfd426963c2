"""Sparse non-negative matrix estimation: n-grams and skip-grams as features, weighted by counts.

Read on in this order: `features` (what is counted), `adjustment` (what is trained), `model` (what
is looked up).
"""

from lmjax.models.snm.adjustment import Adjustment, LeftOut, left_out, loss, train
from lmjax.models.snm.features import Table, feature_types, tabulate
from lmjax.models.snm.model import SNM, Feature, fit, index, snm

__all__ = [
    "SNM",
    "Adjustment",
    "Feature",
    "LeftOut",
    "Table",
    "feature_types",
    "fit",
    "index",
    "left_out",
    "loss",
    "snm",
    "tabulate",
    "train",
]
