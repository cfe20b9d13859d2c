"""Which room may import which, that no files import each other, and that the core stays silent."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deepchest_cli"
# the rooms of the core, from the lowest up, and what each may import of the others
ALLOWED = {
    "engines": set(),
    "data": {"engines"},
    "weighting": {"data"},
    "model": {"data"},
    "reporting": {"data"},
    "prediction": {"model", "reporting", "data"},
    "evaluation": {"model", "reporting", "data"},
    "training": {"evaluation", "model", "weighting", "reporting", "data"},
    "comparison": {
        "training", "evaluation", "model", "weighting", "reporting", "data", "engines",
    },
}  # fmt: skip
SHARED = {
    "config", "device_errors", "errors", "files", "extras", "interruption", "own_code", "schemas",
    "deepchest_cli",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def test_every_room_is_described():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {*ALLOWED, "config", "commands", "library", "schemas"}


@pytest.mark.parametrize("room", ALLOWED)
def test_dependencies_point_one_way(room):
    for path in (PACKAGE / room).rglob("*.py"):
        ours = {name for name in imports(path) if name in MODULES}
        used = {[*name.split("."), "deepchest_cli"][1] for name in ours}
        assert used - {room} <= ALLOWED[room] | SHARED, path


def test_the_library_knows_no_command():
    for path in (PACKAGE / "library").rglob("*.py"):
        names = imports(path)
        assert not {name for name in names if name.startswith("deepchest_cli.commands")}, path
        assert not {name.split(".")[0] for name in names} & {"typer", "rich", "click"}, path


def test_no_files_import_each_other():
    graph = {}
    for name, path in MODULES.items():
        ours = {other for other in imports(path) if other in MODULES} - {name, "deepchest_cli"}
        # importing from a package runs its __init__ only
        graph[name] = {o for o in ours if not any(longer.startswith(f"{o}.") for longer in ours)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("room", ALLOWED)
def test_the_core_knows_no_command_line(room):
    for path in (PACKAGE / room).rglob("*.py"):
        names = imports(path)
        assert not {name.split(".")[0] for name in names} & {"typer", "rich", "click"}, path
        assert not {n for n in names if "commands" in n or n.endswith("terminal")}, path
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"print", "exit", "input"}, path
        assert "os.environ" not in path.read_text("utf-8"), path
        assert "getenv" not in path.read_text("utf-8"), path
