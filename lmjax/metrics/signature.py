"""The signature of a reported number: what is needed to get it again."""

import platform

import jax

from lmjax import __version__

__all__ = ["signature"]


def signature(**fields) -> str:
    """Return one line that names versions and whatever else is needed to get the same number again.

    >>> signature(seed=0).split("|")[-1]
    'seed:0'
    """
    versions = {"lmjax": __version__, "jax": jax.__version__, "python": platform.python_version()}
    return "|".join(f"{name}:{value}" for name, value in (versions | fields).items())
