"""The config directories and their files; the user's directories take precedence over the packaged conf/."""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from digitnet.config.schema import GROUPS
from digitnet.config.yaml_file import YamlFile, read_yaml
from digitnet.errors import ConfigError
from digitnet.text import did_you_mean

CONF_PACKAGE = "digitnet.conf"
ROOT = "config"  # the file that names the default option of each group


class Tree:
    """The config directories, in order of precedence, and which file in them is the root."""

    def __init__(self, directories: Sequence[Path], root: str = ROOT) -> None:
        self.directories = list(directories)
        self.root = root
        self._read: dict[str, YamlFile] = {}

    @classmethod
    def packaged(cls) -> "Tree":
        """The packaged conf/ alone."""
        return cls([Path(str(files(CONF_PACKAGE))).resolve()])

    @classmethod
    def at(cls, config_dir: str | Path | None = None, root: str = ROOT) -> "Tree":
        """`config_dir`, ./conf and the packaged conf/: a file takes precedence over one of its name in a later one.

        Raises ConfigError if there is no such folder, or no such root.
        """
        (packaged,) = cls.packaged().directories
        own = [path for path in [Path("conf")] if path.is_dir()]
        if config_dir is not None:
            given = Path(os.path.expanduser(config_dir))
            if not os.path.isdir(given):  # noqa: PTH112 - Path.is_dir raises for a long name
                raise ConfigError(f"--config-dir {config_dir}: no such folder")
            own.insert(0, given)
        distinct = dict.fromkeys(path.resolve() for path in own)  # ./conf of a checkout is the packaged one
        tree = cls([*(path for path in distinct if path != packaged), packaged], root.removesuffix(".yaml"))
        if tree.find(tree.root) is None:
            roots = [name for name in tree.names if "/" not in name]
            near = did_you_mean(root, roots) or f"; there are {', '.join(roots)}"
            raise ConfigError(f"--config-name {root}: no such file{near}")
        return tree

    @property
    def own(self) -> list[Path]:
        """The user's config directories."""
        return self.directories[:-1]

    @property
    def foreign(self) -> Path | None:
        """./conf, if it is probably another program's: its root, or its folders, have other groups than digitnet's."""
        folder = Path("conf").resolve()
        if folder not in self.own:
            return None
        fewest, groups = 1, {path.relative_to(folder).parts[0] for path in files_below(folder)}
        if (folder / f"{ROOT}.yaml").is_file():
            try:
                source = read_yaml(folder / f"{ROOT}.yaml", ROOT)
                fewest, groups = 3, {default.group for default in source.defaults()}
            except ConfigError:
                return None
            if source.line_of(["defaults"]) is None:  # which is a fault of its own
                return None
        known = {group for group in groups if group in (*GROUPS, "hydra") or did_you_mean(group, GROUPS)}
        return folder if len(known) < fewest else None

    def find(self, name: str) -> Path | None:
        """The path of the file with that name ("model/lenet5"), in the first directory that has it."""
        paths = (directory / f"{name}.yaml" for directory in self.directories)
        return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 - as above

    @cached_property
    def names(self) -> list[str]:
        """The names of all files, sorted, each once."""
        names = {
            path.relative_to(directory).with_suffix("").as_posix()
            for directory in self.directories
            for path in files_below(directory)
            if path.suffix == ".yaml"
        }
        return sorted(names)

    def options(self, group: str) -> list[str]:
        """The names of a group's options."""
        return [option for name in self.names for parent, _, option in [name.rpartition("/")] if parent == group]

    @cached_property
    def groups(self) -> set[str]:
        """All folders that contain options: "model", "hydra/help"."""
        return {parent for name in self.names if (parent := name.rpartition("/")[0])}

    def read(self, name: str) -> YamlFile:
        """Parse an existing file. Raises ConfigError if it is not a mapping, or has a key twice."""
        if name not in self._read:
            path = self.find(name)
            assert path is not None, name
            self._read[name] = read_yaml(path, name)
        return self._read[name]

    def described(self, group: str) -> dict[str, str]:
        """Each option of a group with its file's description or, if the file cannot be read, the reason."""
        descriptions = {}
        for option in self.options(group):
            try:
                descriptions[option] = self.read(f"{group}/{option}").description
            except ConfigError as error:
                descriptions[option] = error.faults[0].message
        return descriptions


def files_below(directory: Path) -> list[Path]:
    """The regular files below a directory, sorted, without hidden ones, such as `.#mine.yaml` of an editor."""
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.is_file()]
    return sorted(found)


def asks_for_sweep(overrides: Iterable[str]) -> bool:
    """Whether the overrides choose a sweep preset (sweep=OPTION), which starts a sweep without -m."""
    return any(override.lstrip("+").startswith("sweep=") for override in overrides)


def no_group(group: str, existing: Iterable[str]) -> str:
    """The message about a group that is not among the `existing` ones."""
    return f"no group '{group}'" + (did_you_mean(group, existing) or f"; there are {', '.join(sorted(existing))}")


def no_option(group: str, option: str, existing: Sequence[str]) -> str:
    """The message about an option that is not among the `existing` ones of its group."""
    near = did_you_mean(option, existing)
    listed = f"are {', '.join(existing)}" if len(existing) > 1 else f"is only '{''.join(existing)}'"
    there_are = f"{' There' if near else '; there'} {listed}" if existing else ""
    return f"{group}={option}: no such option{near}{there_are}".lstrip("=")
