"""Pytrees on disk: one safetensors file, written whole or not at all, checked when it is read."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path

import jax
from safetensors import SafetensorError, safe_open
from safetensors.flax import save as to_bytes

__all__ = ["load", "read_meta", "read_part", "save", "write"]


def save(path, tree, meta: dict) -> None:
    """Write the arrays of a pytree and a JSON-able `meta` to one safetensors file, atomically.

    A leaf's name is its path in the tree (`params.cell.w_h`), so that any safetensors reader can
    use it.
    """
    write(path, to_bytes(_named(tree), {"meta": json.dumps(meta)}))


def load(path, like):
    """Return `(tree, meta)` of a file that `save` wrote; `like` gives the structure and shapes.

    >>> import tempfile, jax.numpy as jnp
    >>> file = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> save(file, {"w": jnp.ones(2)}, {"step": 3})
    >>> tree, meta = load(file, {"w": jnp.zeros(2)})
    >>> tree["w"].tolist(), meta
    ([1.0, 1.0], {'step': 3})

    Raises:
        ValueError: the file is damaged, or names, shapes or dtypes are not those of `like`.
    """
    leaves, tree = jax.tree.flatten(like)
    wanted = _named(like)
    with _open(path) as (file, meta):
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    describe = lambda x: f"{x.dtype}{list(x.shape)}"
    for name in sorted(set(wanted) | set(arrays)):
        want, got = (describe(d[name]) if name in d else "nothing" for d in (wanted, arrays))
        if want != got:
            raise ValueError(f"{path}: {name} should be {want}, the file holds {got}")
    read = [
        jax.random.wrap_key_data(arrays[name], impl=jax.random.key_impl(x))
        if _is_key(x)
        else arrays[name]
        for name, x in zip(wanted, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, read), meta


def read_meta(path) -> dict:
    """Return the `meta` of a file that `save` wrote, without its arrays."""
    with _open(path) as (_, meta):
        return meta


def read_part(path, part: str) -> dict:
    """Return the arrays of a part of the tree that `save` wrote, by their names within it."""
    with _open(path) as (file, _):
        names = [name for name in file.keys() if name.startswith(f"{part}.")]  # noqa: SIM118
        return {name.removeprefix(f"{part}."): file.get_tensor(name) for name in names}


@contextmanager
def _open(path):
    try:
        with safe_open(path, "flax") as file:
            yield file, json.loads(file.metadata()["meta"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: damaged, or no checkpoint of this library ({error})") from None


def write(path, data: bytes) -> None:
    """Write a file whole or not at all: a crash leaves the old one."""
    path = Path(path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        fresh.unlink(missing_ok=True)


def _named(tree) -> dict:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
    return {name(path): jax.random.key_data(x) if _is_key(x) else x for path, x in leaves}


def _is_key(leaf) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
