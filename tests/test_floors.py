"""A file imports only from lower floors."""

import ast
from pathlib import Path

import pytest

import lmjax

ROOT = Path(lmjax.__file__).parent
FLOORS = {
    "maps": 0,
    "cell": 1,
    **dict.fromkeys(["cells", "heads", "data"], 2),
    **dict.fromkeys(["models", "analysis"], 3),
    "evaluate": 4,
    **dict.fromkeys(["train", "plot", "interop"], 5),
    "report": 6,
    "cli": 7,
    "__init__": 8,
}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_from_lower_floors(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "lmjax":
            names = [f"lmjax.{alias.name}" for alias in node.names if alias.name in FLOORS]
        for other in (name.split(".")[1] for name in names if name.startswith("lmjax.")):
            assert other == room or FLOORS[other] < FLOORS[room], f"{room} imports {other}"
