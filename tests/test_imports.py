"""Importing costs next to nothing until something is asked for."""

import json
import subprocess
import sys

import pytest

import lmjax


def imported(code):
    """Top-level modules that a fresh process holds after running the code."""
    listing = "print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    report = f"{code}\nimport json, sys\n{listing}"
    return set(
        json.loads(
            subprocess.run([sys.executable, "-c", report], capture_output=True, check=True).stdout
        )
    )


def test_import_is_cheap_and_rooms_come_when_asked_for():
    heavy = {
        "jax",
        "numpy",
        "matplotlib",
        "optax",
        "flax",
        "chex",
        "safetensors",
        "rich",
        "tyro",
        "torch",
    }
    assert not imported("import lmjax") & heavy
    assert imported("import lmjax; lmjax.cells") & heavy == {"jax", "numpy"}
    training = imported("import lmjax; lmjax.train; lmjax.analysis")
    assert not training & {"matplotlib", "flax", "rich", "tyro", "torch"}
    assert {"cells", "plot", "__version__"} <= set(dir(lmjax))
    with pytest.raises(AttributeError, match="no attribute 'cell_zoo'"):
        lmjax.cell_zoo  # noqa: B018
