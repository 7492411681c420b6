"""Candidates for tab completion: groups, options, keys and values of overrides, folders of runs, paths."""

import contextlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from digitnet.config.dotted import nested_keys
from digitnet.config.files import Tree
from digitnet.config.keys import all_keys, choices
from digitnet.config.rules import CHANGEABLE
from digitnet.config.schema import GROUPS, LAUNCHER
from digitnet.errors import ConfigError

PATH_KEYS = ("init_from", "data.root", "hydra.run.dir", "hydra.sweep.dir")  # whose value is a path


def words_of(line: str) -> tuple[list[str], str]:
    """(the words of a command line that ends at the cursor, the quote that is open there)."""
    for quote in ("", '"', "'"):
        with contextlib.suppress(ValueError):  # of shlex, if a quote is open
            *words, current = shlex.split(f"{line}x{quote}")
            return [*words, current.removesuffix("x")], quote
    return [line], ""


def inserted_by_bash(candidates: Iterable[str], line: str) -> list[str]:
    """The candidates as bash inserts them: quoted, and without what is before the last `=` or `:` of `line`.

    Bash breaks words at these if they are in $COMP_WORDBREAKS, which the script passes on.
    """
    words, quote = words_of(line)
    breaks = {"=", ":"} & {*os.environ.get("COMP_WORDBREAKS", "")}
    start = max((words[-1].rfind(letter) + 1 for letter in breaks), default=0)
    found = [word[start:] for word in candidates]
    return found if quote else [re.sub(r"([^\w=.,/+~:@%-])", r"\\\1", word) for word in found]


def override_candidates(before: Sequence[str], current: str) -> Iterator[str]:
    """Overrides that complete the word `current`, given the words `before` it.

    For example `model=`, `model=lenet5`, `optimizer.`, `optimizer.lr=`, `trainer.precision=bf16`.
    """
    pairs = dict(pairwise(before))
    with contextlib.suppress(ConfigError):
        tree = Tree.at(pairs.get("--config-dir"))
        sign = current[: len(current) - len(current.lstrip("+~"))]
        key, equals, value = current[len(sign) :].partition("=")
        if equals:
            done = value[: value.rfind(",") + 1]  # the earlier values of a sweep
            if key in PATH_KEYS:
                yield from (f"{sign}{key}={path}" for path in path_candidates(value))
            options = tree.options(key) if key in tree.groups else choices(key)
            yield from (f"{sign}{key}={done}{option}" for option in options)
            return
        yield from (f"{sign}{group}=" for group in (*GROUPS, LAUNCHER))
        yield from (f"{sign}{word}" for word in _keys(before, tree, key))


def key_candidates(current: str) -> Iterator[str]:
    """Keys, the last of which completes `current`, as `digitnet compare --group-by` takes them: `lr`, `data,seed`."""
    done = current[: current.rfind(",") + 1]
    leaves = Counter(key.rpartition(".")[2] for key in all_keys())
    yield from (f"{done}{key}" for key in (*GROUPS, *all_keys(), *(leaf for leaf in leaves if leaves[leaf] == 1)))


def changeable_candidates(current: str) -> Iterator[str]:
    """Overrides that `digitnet resume` accepts."""
    words = {*override_candidates((), current)} - {"device."}  # a group without keys
    yield from (word for word in words if word.startswith(CHANGEABLE) or word == "trainer.")


def _keys(before: Sequence[str], tree: Tree, start: str) -> Iterator[str]:
    """The keys one level below `start`'s group; groups of keys end in a dot."""
    from digitnet.config.compose import composed_values  # Hydra

    chosen = [word.partition(",")[0] for word in before if word.partition("=")[0] in GROUPS]  # of a sweep, the first
    content: dict[str, object] = {}
    for choice in (chosen, []):  # without `chosen` if they do not compose
        with contextlib.suppress(ConfigError):
            content = composed_values(choice, tree)
            break
    names = list(nested_keys(content))
    groups = {name.rpartition(".")[0] for name in names}
    for name in names:
        if name.count(".") == start.count(".") and not name.endswith(".name"):  # an option's name is not set
            yield f"{name}." if name in groups else f"{name}="


def run_folder_candidates(start: str) -> Iterator[str]:
    """Folders that are or may contain runs."""
    yield from (path for path in path_candidates(start) if path.endswith("/") and not _is_inside_run(Path(path)))


def _is_inside_run(folder: Path) -> bool:
    """Whether `folder` is hidden, or in a run's folder."""
    return folder.name.startswith(".") or (folder.parent / "summary.json").exists()


def path_candidates(start: str) -> Iterable[str]:
    folder, slash, _ = start.rpartition("/")
    with contextlib.suppress(OSError, RuntimeError):
        for path in Path(folder + slash or ".").expanduser().iterdir():
            yield f"{folder}{slash}{path.name}" + ("/" if path.is_dir() else "")
