"""The architecture of CONTRIBUTING.md: imports point downwards, without circles; names stand once; everything is short.

Each rule is a function that returns what breaks it, so that the last tests can show that it finds something.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from conftest import CHECKOUT

# From the ground up: a file imports only from rooms below its own, or from files of its own room.
ROOMS = [
    ("errors", "text", "atomic", "lock", "signals", "streams", "hardware", "version"),
    (
        *("data", "models", "augment", "corruptions", "schedules", "losses", "optimizers"),
        *("metrics", "scores", "significance"),
    ),
    ("config",),
    ("training",),
    ("runs",),
    ("report",),
    ("experiment",),
    ("sweep",),
    ("commands", "cli", "api", "__main__", ""),  # "": the package itself
]
LEVELS = {name: level for level, names in enumerate(ROOMS) for name in names}
KNOW_NO_CONFIG = (
    "data",
    "models",
    "augment",
    "corruptions",
    "schedules",
    "losses",
    "optimizers",
    "metrics",
    "scores",
    "significance",
    "training",
)
HOMES = {  # packages that one file, or one room, imports alone
    "hydra": "config/hydra_adapter.py",
    "omegaconf": "config/",
    "rich": "report/terminal.py",
    "matplotlib": "report/",
    "scipy": ("significance.py", "corruptions.py", "data/ink.py", "data/preparation.py"),
    "argparse": ("commands/", "cli.py"),
}
FOR_COMMANDS = {  # what parsing, calling and printing need
    "argparse", "collections", "digitnet", "importlib", "os", "pathlib", "shlex", "shutil", "sys", "textwrap", "types",
    "typing",
}  # fmt: skip
LONGEST_FUNCTION, LONGEST_FILE = 50, 300  # lines
OF_EVERY_COMMAND = ("main", "add_arguments")
SOURCE = CHECKOUT / "src" / "digitnet"

Sources = Mapping[str, str]  # "config/schema.py" -> its text
Rule = Callable[[Sources], list[str]]
Import = tuple[str, str]  # ("digitnet.config.schema", "Config"), or with "" for `import module`


@cache
def sources() -> Sources:
    return {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def module_of(file: str) -> str:
    return ".".join(("digitnet", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


def room_of(module: str) -> str:
    return f"{module}.".split(".")[1]


def imports_of(text: str) -> list[Import]:
    """Wherever in the file: in functions, too, and below `if TYPE_CHECKING`."""
    found: list[Import] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def runtime_graph(files: Sources) -> dict[str, set[str]]:
    """The modules that each imports, lazily too, but not for types alone."""
    modules = {module_of(file) for file in files}
    graph: dict[str, set[str]] = {}
    for file, text in files.items():
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                node.body = [ast.Pass()]
        graph[module_of(file)] = {
            f"{module}.{name}" if f"{module}.{name}" in modules else module
            for module, name in imports_of(ast.unparse(tree))
        } & (modules - {module_of(file)})
    return graph


def circles(files: Sources) -> list[str]:
    graph, done, found = runtime_graph(files), set[str](), []

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            found.append(" -> ".join([*way[way.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, [*way, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def upward_imports(files: Sources) -> list[str]:
    """Those for types alone count, too."""
    modules = {module_of(file) for file in files}
    found = []
    for file, text in files.items():
        here = room_of(module_of(file))
        for module, name in imports_of(text):
            other = f"{module}.{name}" if f"{module}.{name}" in modules else module
            if other.split(".")[0] != "digitnet":
                continue
            there = room_of(other)
            if LEVELS[there] > LEVELS[here] or (here in KNOW_NO_CONFIG and there == "config"):
                found.append(f"{file} imports {other}")
    return found


def private_names(files: Sources) -> list[str]:
    """`from digitnet.x import _name`, or `x._name` of a module of ours."""
    modules = {module_of(file) for file in files}
    found = []
    for file, text in files.items():
        of_ours = {name for module, name in imports_of(text) if f"{module}.{name}" in modules}
        found += [f"{file}: {module}.{name}" for module, name in imports_of(text) if re.match("_[^_]", name)]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in of_ours:
                found += [f"{file}: {node.value.id}.{node.attr}"] if re.match("_[^_]", node.attr) else []
    return found


def names_that_stand_twice(files: Sources) -> list[str]:
    """Modules, classes and public functions."""
    where: dict[str, list[str]] = defaultdict(list)
    for file, text in files.items():
        module = module_of(file)
        where[f"module {module.rpartition('.')[2]}"].append(file)
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                where[node.name].append(file)
    return [f"{name}: {files}" for name, files in where.items() if len(files) > 1 and name not in OF_EVERY_COMMAND]


def too_long(files: Sources) -> list[str]:
    found = [f"{file}: {lines}" for file, text in files.items() if (lines := text.count("\n")) > LONGEST_FILE]
    for file, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                found += [f"{file}: {node.name}: {lines}"] if lines > LONGEST_FUNCTION else []
    return found


def away_from_home(files: Sources) -> list[str]:
    found = []
    for package, homes in HOMES.items():
        users = [
            file for file, text in files.items() if package in {name.split(".")[0] for name, _ in imports_of(text)}
        ]
        found += [f"{file} imports {package}" for file in users if not file.startswith(homes)]
    return found


def more_than_arguments(files: Sources) -> list[str]:
    """What commands/ imports besides argparse, what its files call, and what these need for paths and terminals."""
    return [
        f"{file} imports {module}"
        for file, text in files.items()
        if file.startswith("commands/")
        for module, _ in imports_of(text)
        if module.split(".")[0] not in FOR_COMMANDS
    ]


RULES: list[Rule] = [
    circles, upward_imports, private_names, names_that_stand_twice, too_long, away_from_home, more_than_arguments
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_follows_the_rule(rule: Rule) -> None:
    assert rule(sources()) == []


def test_every_file_has_a_room() -> None:
    assert {room_of(module_of(file)) for file in sources()} == set(LEVELS)


def test_contributing_shows_every_room_in_order() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text()
    (tree,) = re.findall(r"^```\n(errors .*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = tree.splitlines()
    names = [name for room in ROOMS for name in room if name not in ("", "__main__")]
    places = [
        next((n for n, line in enumerate(lines) if re.match(rf"([\w/]+ +)*{name}\b", line)), -1) for name in names
    ]
    assert -1 not in places, names[places.index(-1)]
    assert places == sorted(places)


BROKEN: list[tuple[Rule, dict[str, str]]] = [
    (circles, {"runs/a.py": "from digitnet.runs import b\n", "runs/b.py": "def f():\n    import digitnet.runs.a\n"}),
    (upward_imports, {"runs/a.py": "def f():\n    from digitnet.sweep import plan\n", "sweep/plan.py": ""}),
    (upward_imports, {"training/a.py": "from digitnet.config.schema import Config\n", "config/schema.py": ""}),
    (upward_imports, {"runs/a.py": "from digitnet import __version__\n", "__init__.py": ""}),
    (private_names, {"runs/a.py": "from digitnet.runs.b import _f\n", "runs/b.py": ""}),
    (private_names, {"runs/a.py": "from digitnet.runs import b\nb._f()\n", "runs/b.py": ""}),
    (names_that_stand_twice, {"runs/a.py": "", "report/a.py": ""}),
    (names_that_stand_twice, {"runs/a.py": "class A: ...\n", "report/b.py": "class A: ...\n"}),
    (names_that_stand_twice, {"runs/a.py": "def f(): ...\n", "report/b.py": "def f(): ...\n"}),
    (too_long, {"runs/a.py": "\n" * 301}),
    (too_long, {"runs/a.py": "class A:\n    def f(self):\n" + "        ...\n" * 50}),
    (away_from_home, {"config/compose.py": "def f():\n    from hydra.core import plugins\n"}),
    (away_from_home, {"runs/a.py": "import omegaconf\n"}),
    (away_from_home, {"report/tables.py": "import rich.table\n"}),
    (away_from_home, {"runs/a.py": "import matplotlib\n"}),
    (more_than_arguments, {"commands/a_command.py": "import csv\n"}),
]


@pytest.mark.parametrize(("rule", "files"), BROKEN)
def test_what_breaks_a_rule_is_found(rule: Rule, files: dict[str, str]) -> None:
    assert len(rule(files)) == 1
