"""`--help` of every script shows its options and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lmjax

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "experiments").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_help_creates_nothing(script, tmp_path):
    home = str(Path(lmjax.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, str(script), "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0 and "usage:" in run.stdout, run.stderr[-500:]
    assert not list(tmp_path.iterdir())
