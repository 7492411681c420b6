"""The architecture of CONTRIBUTING.md, held: imports point downwards, Hydra and rich have one room each."""

import ast
import re
from pathlib import Path

from conftest import CHECKOUT

SOURCE = CHECKOUT / "src" / "digitnet"
TABLE = re.findall(r"^\| (\d) \| ([^|]+) \|", (CHECKOUT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
LAYERS = {name.strip("/").removesuffix(".py"): int(n) for n, files in TABLE for name in re.findall(r"`([^`]+)`", files)}


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [path for path in SOURCE.rglob("*.py") if not room_of(path).startswith("__")]


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in FILES} == set(LAYERS)


def test_imports_point_downwards() -> None:
    for path in FILES:
        rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("digitnet.")} & set(LAYERS)
        for room in rooms - {room_of(path)}:
            assert LAYERS[room] <= LAYERS[room_of(path)], f"{path.name} imports {room}"


def test_one_room_each() -> None:
    for package, home in (("hydra", "compose"), ("rich", "display"), ("matplotlib", "pictures")):
        users = {room_of(path) for path in FILES if any(name.split(".")[0] == package for name in imports_of(path))}
        assert users == {home}
