"""lmjax: recurrent language models in JAX whose gradients can be seen."""

__version__ = "0.1.0"
