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


def test_cells_need_no_primitive_by_name():
    """A later JAX may rename or drop any of them: no module of ours asks for one when it starts."""
    program = """
import sys
import jax.extend.core.primitives as primitives
import flax, optax  # whatever they need is there
names = [name for name in vars(primitives) if name.endswith("_p")]
assert len(names) > 100
for name in names:
    kept = getattr(primitives, name)
    delattr(primitives, name)
    for module in [m for m in sys.modules if m.partition(".")[0] == "lmjax"]:
        del sys.modules[module]
    import lmjax.cells
    setattr(primitives, name, kept)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
