"""A file imports only from lower floors."""

import ast
from pathlib import Path

import pytest

import lmjax

ROOT = Path(lmjax.__file__).parent
FLOORS = {
    **dict.fromkeys(["maps", "precision", "tree"], 0),
    "jaxprs": 1,
    "cell": 2,
    "unroll": 2.5,
    **dict.fromkeys(["cells", "heads", "data"], 3),
    **dict.fromkeys(["models", "analysis"], 4),
    "evaluate": 5,
    **dict.fromkeys(["train", "plot", "interop"], 6),
    "testing": 6,
    "report": 7,
    "cli": 8,
    "__init__": 9,
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
