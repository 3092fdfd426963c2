"""lmjax: recurrent language models in JAX whose gradients can be seen."""

import importlib

__version__ = "0.1.0"
__all__ = [
    "analysis",
    "cell",
    "cells",
    "data",
    "decoding",
    "heads",
    "interop",
    "metrics",
    "models",
    "plot",
    "testing",
    "train",
    "unroll",
]


def __getattr__(name: str):
    """Import a room when it is first asked for, so that `import lmjax` costs next to nothing."""
    if name in __all__:
        return importlib.import_module(f"lmjax.{name}")
    raise AttributeError(f"module 'lmjax' has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
