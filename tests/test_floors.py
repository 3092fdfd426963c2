"""A file imports from lower floors only, no private names, and never from the root."""

import ast
from pathlib import Path

import pytest

import lmjax

ROOT = Path(lmjax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FLOORS = {
    **dict.fromkeys(["cell", "checks", "ids", "interrupt", "precision", "tree"], 0),
    **dict.fromkeys(["factory", "unroll"], 1),
    **dict.fromkeys(["cells", "heads", "data"], 2),
    **dict.fromkeys(["models", "analysis"], 3),
    **dict.fromkeys(["metrics", "decoding"], 4),
    **dict.fromkeys(["train", "plot", "interop"], 5),
    **dict.fromkeys(["report", "testing"], 6),
    "cli": 7,
    "__init__": 8,
}


def imports(path):
    """Every import of this package, as (module, name); the name is None for `import module`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found = [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [(alias.name, None) for alias in node.names]
        else:
            continue
        yield from (pair for pair in found if pair[0].partition(".")[0] == "lmjax")


def dunder(name):
    return name.startswith("__") and name.endswith("__")


def private(name):
    return name.startswith("_") and not dunder(name)


def a_file(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=a_file)
def test_imports_only_from_lower_floors(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for module, name in imports(path):
        other = name if module == "lmjax" else module.split(".")[1]
        if other is not None and not dunder(other):
            assert other == room or FLOORS[other] < FLOORS[room], f"{room} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=a_file)
def test_no_file_imports_the_private_names_of_another(path):
    for module, name in imports(path):
        parts = [*module.split("."), *([] if name is None else [name])]
        assert not any(map(private, parts)), f"{a_file(path)} imports {'.'.join(parts)}"


@pytest.mark.parametrize("path", FILES, ids=a_file)
def test_no_room_imports_the_root(path):
    """Say `from lmjax.data import Corpus` or `import lmjax.data as data`, which name the room."""
    for module, name in imports(path):
        if module == "lmjax" and path != ROOT / "__init__.py":
            said = f"{a_file(path)} imports {name or 'lmjax'} from the root"
            assert name is not None and dunder(name), said
