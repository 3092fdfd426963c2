"""Checkpoints hold any pytree, and are checked when they are read."""

import errno
import os
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest
from toy import LM

from lmjax.train import checkpoint


def test_checkpoints_hold_any_tree_and_refuse_another(tmp_path, key):
    tree = {
        "w": jnp.arange(3, dtype=jnp.bfloat16),
        "state": LM.init(key),
        "n": jnp.zeros((), jnp.int32),
    }
    checkpoint.save(tmp_path / "a", tree, {"epoch": 2})
    loaded, meta = checkpoint.load(tmp_path / "a", tree)
    chex.assert_trees_all_equal(loaded, tree)
    assert meta == {"epoch": 2} and [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ValueError, match=r"w should be int32\[3\], the file holds bfloat16\[3\]"):
        checkpoint.load(tmp_path / "a", {**tree, "w": jnp.zeros(3, jnp.int32)})
    with pytest.raises(ValueError, match=r"extra should be float64\[\], the file holds nothing"):
        checkpoint.load(tmp_path / "a", {**tree, "extra": jnp.zeros(())})


def test_damaged_checkpoints_are_named(tmp_path):
    checkpoint.save(tmp_path / "a", {"w": jnp.zeros(100)}, {})
    whole = (tmp_path / "a").read_bytes()
    for damaged in (b"", whole[:50], whole[:-10], b"hello" * 20):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged, or no checkpoint"):
            checkpoint.load(tmp_path / "a", {"w": jnp.zeros(100)})


def test_random_keys_are_kept(tmp_path):
    tree = {"key": jax.random.key(3), "more": jax.random.split(jax.random.key(4), 2)}
    checkpoint.save(tmp_path / "a", tree, {})
    loaded, _ = checkpoint.load(tmp_path / "a", jax.tree.map(jnp.zeros_like, tree))
    chex.assert_trees_all_equal(*(jax.tree.map(jax.random.key_data, t) for t in (loaded, tree)))


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "a", {"w": jnp.ones(3)}, {})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        checkpoint.save(tmp_path / "a", {"w": jnp.zeros(3)}, {})
    assert Path(raised.value.filename) == tmp_path / "a"
    assert checkpoint.load(tmp_path / "a", {"w": jnp.zeros(3)})[0]["w"].tolist() == [1, 1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
