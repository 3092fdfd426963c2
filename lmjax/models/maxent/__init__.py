"""Maximum-entropy features of the last words, trained together with a recurrent model.

Read on in this order: `features` (the protocol), `links` (the n-grams of a text), `hashed` (all
n-grams, in a table of fixed size), `model` (any model with features beside it).
"""

from lmjax.models.maxent.features import Features
from lmjax.models.maxent.hashed import hashed
from lmjax.models.maxent.links import Links, Observed, link, observed
from lmjax.models.maxent.model import MaxEnt, maxent

__all__ = ["Features", "Links", "MaxEnt", "Observed", "hashed", "link", "maxent", "observed"]
