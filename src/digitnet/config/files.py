"""The configuration's YAML files as people wrote them: what is wrong with one by itself, and where a key stands.

Hydra composes what these files say; here they are only read, so that a mistake can be answered with file and line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import yaml

from digitnet.config.schema import GROUPS, PRESETS, SECTIONS
from digitnet.errors import ConfigError, Fault
from digitnet.text import did_you_mean

CONF_PACKAGE = "digitnet.conf"
ROOT = "config"  # the file that names the default option of each group


@dataclass(frozen=True)
class DefaultsEntry:
    """An entry of a defaults list: which file it takes in, by its name below the config directory ("model/lenet5")."""

    group: str  # "" for a file that is in none
    option: str
    line: int
    written: str  # `override /model`, `/model`, `model`; "" for an entry without a group

    @property
    def name(self) -> str:
        return f"{self.group}/{self.option}".lstrip("/")

    @property
    def overrides(self) -> bool:
        return "override" in self.written.split()


@dataclass(frozen=True)
class YamlFile:
    """A YAML file, parsed but not interpreted."""

    name: str  # below its config directory, without the ending: "model/lenet5"
    path: Path
    text: str
    root: yaml.MappingNode | None  # None: an empty file

    @property
    def group(self) -> str:
        """The group that it is an option of; "" for a file at the top."""
        return self.name.rpartition("/")[0]

    @property
    def description(self) -> str:
        """Its first line of comment."""
        lines = re.findall(r"^#\s*(.*)", self.text, flags=re.MULTILINE)
        return next((line for line in lines if not line.startswith(("@", "yaml-language-server"))), "")

    @property
    def comments(self) -> dict[str, str]:
        """What stands behind the values at the top of the file: {"shift": "fraction of the width"}."""
        return dict(re.findall(r"^ *(\w+):[^#\n]*# (.+)$", self.text, flags=re.MULTILINE))

    def values(self, node: yaml.Node | None = None, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Its dotted keys and their values as they are written, `defaults` apart."""
        for key, value in _items(node or self.root):
            if isinstance(value, yaml.MappingNode):
                yield from self.values(value, f"{prefix}{key.value}.")
            elif prefix or key.value != "defaults":
                yield f"{prefix}{key.value}", value.value if isinstance(value, yaml.ScalarNode) else "[…]"

    def line_of(self, keys: Sequence[str]) -> int | None:
        """The line of a key, given as its path ("trainer", "epochs"); None if the file has none such."""
        node: yaml.Node | None = self.root
        line = 1
        for key in keys:
            pair = next(((k, v) for k, v in _items(node) if k.value == key), None)
            if pair is None:
                return None
            line, node = pair[0].start_mark.line + 1, pair[1]
        return line

    def defaults(self) -> list[DefaultsEntry]:
        """Its defaults list, without `_self_` and what is chosen by interpolation. Raises ConfigError if it is none."""
        entries = next((value for key, value in _items(self.root) if key.value == "defaults"), None)
        if entries is None:
            return []
        if not isinstance(entries, yaml.SequenceNode):
            raise self.error("defaults: is a list; write each entry on a line of its own behind '- '", entries)
        return [default for entry in entries.value for default in self._default(entry)]

    def _default(self, entry: yaml.Node) -> Iterator[DefaultsEntry]:
        written, options = "", entry
        if isinstance(entry, yaml.MappingNode):
            if len(entry.value) != 1:
                raise self.error("defaults: an entry has one group; begin each with '- ' on a line of its own", entry)
            written, options = str(entry.value[0][0].value), entry.value[0][1]
        for node in options.value if isinstance(options, yaml.SequenceNode) else [options]:
            if not isinstance(node, yaml.ScalarNode) or node.tag.endswith((":int", ":float", ":bool")):
                raise self.error(f"defaults: {_shown(node)} is not the name of an option", node)
            option = node.value
            if not option:
                raise self.error("defaults: an entry is empty; name an option", entry)
            if not written and " " in option:  # no ': ' in it
                raise self.error(f"defaults: '{option}' is not GROUP: OPTION, with a space behind the colon", entry)
            if node.tag.endswith(":null") or option == "_self_" or "${" in option + written:
                continue
            if "optional" in written.split():
                continue
            group = written.split()[-1].partition("@")[0] if written else ""
            path = f"{group}/{option.partition('@')[0]}" if group else option.partition("@")[0]
            absolute = path.lstrip("/") if path.startswith("/") or not self.group else f"{self.group}/{path}"
            below, _, option = absolute.rpartition("/")
            if group:  # an option may be in a folder of its own below the group
                below = group.lstrip("/") if group.startswith("/") or not self.group else f"{self.group}/{group}"
                option = absolute.removeprefix(f"{below}/")
            yield DefaultsEntry(below, option, entry.start_mark.line + 1, written)

    def error(self, message: str, node: yaml.Node | None = None) -> ConfigError:
        return ConfigError(Fault(message, file=self.path, line=node.start_mark.line + 1 if node else 1))


class Tree:
    """The config directories, the one that goes before the others first, and which file in them is the root."""

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
        """`config_dir`, ./conf and the packaged conf/: a file of one goes before one of the same name in the next.

        Raises ConfigError if there is no such folder, or no such root.
        """
        (packaged,) = cls.packaged().directories
        own = [path for path in [Path("conf")] if path.is_dir()]
        if config_dir is not None:
            given = Path(config_dir).expanduser()
            if not given.is_dir():
                raise ConfigError(f"--config-dir {config_dir}: no such folder")
            own.insert(0, given)
        distinct = dict.fromkeys(path.resolve() for path in own)  # ./conf of a checkout is the packaged one
        tree = cls([*(path for path in distinct if path != packaged), packaged], root)
        if tree.find(root) is None:
            roots = [name for name in tree.names if "/" not in name]
            near = did_you_mean(root, roots) or f"; there are {', '.join(roots)}"
            raise ConfigError(f"--config-name {root}: no such file{near}")
        return tree

    @property
    def own(self) -> list[Path]:
        """The user's config directories."""
        return self.directories[:-1]

    def find(self, name: str) -> Path | None:
        """The file of that name, "model/lenet5"."""
        paths = (directory / f"{name}.yaml" for directory in self.directories)
        return next((path for path in paths if path.is_file()), None)

    @cached_property
    def names(self) -> list[str]:
        """Of all files, each name once."""
        found = {
            path.relative_to(directory).with_suffix("").as_posix()
            for directory in self.directories
            for path in directory.rglob("*.yaml")
        }
        return sorted(found)

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return [option for name in self.names for parent, _, option in [name.rpartition("/")] if parent == group]

    @cached_property
    def groups(self) -> set[str]:
        """All folders that hold options, as groups: "model", "hydra/help"."""
        return {parent for name in self.names if (parent := name.rpartition("/")[0])}

    def read(self, name: str) -> YamlFile:
        """Parse a file that is there. Raises ConfigError if it cannot be read as a mapping without doubled keys."""
        if name not in self._read:
            path = self.find(name)
            assert path is not None, name
            self._read[name] = read_yaml(path, name)
        return self._read[name]

    def described(self, group: str) -> dict[str, str]:
        """Each option of a group with what its file says it is."""
        found = {}
        for option in self.options(group):
            try:
                found[option] = self.read(f"{group}/{option}").description
            except ConfigError as error:
                found[option] = error.faults[0].message
        return found

    def faults(self, names: Iterable[str]) -> list[Fault]:
        """What is wrong with the files of these names and those that their defaults lead to."""
        found: dict[Fault, None] = {}  # in order, each once
        names = list(names)
        chosen = {name.rpartition("/")[0] for name in names}
        for name in names:
            for fault in self._walk(name, [], chosen):
                found[fault] = None
        return list(found)

    def _walk(self, name: str, trail: list[str], chosen: set[str]) -> Iterator[Fault]:
        if self.find(name) is None:
            return  # of Hydra's own, or missing, which who names it has said
        try:
            source = self.read(name)
            defaults = source.defaults()
        except ConfigError as error:
            yield from error.faults
            return
        yield from self.lint(source, defaults)
        for default in defaults:
            way = [*trail, name]
            if default.name in way:
                circle = " -> ".join([*way[way.index(default.name) :], default.name])
                hint = (
                    "; a file in place of a packaged one has all keys itself, or else a name of its own"
                    if default.name == name
                    else ""
                )
                yield Fault(f"defaults: go in a circle, {circle}{hint}", file=source.path, line=default.line)
            elif not (name == self.root and default.group in chosen):
                yield from self._walk(default.name, way, chosen)

    def lint(self, source: YamlFile, defaults: Iterable[DefaultsEntry]) -> Iterator[Fault]:
        """What is wrong with a file for itself, apart from its values."""
        top = source.group.split("/")[0]
        if top and top not in (*GROUPS, *SECTIONS, "hydra"):
            yield Fault(no_group(top, GROUPS), file=source.path)
            return
        if top in GROUPS and top not in (source.group, *PRESETS):
            yield Fault(f"the file stands too deep; an option of {top} is a file in {top}/", file=source.path)
            return
        if source.name == self.root and source.line_of(("defaults",)) is None:
            message = "the file stands for digitnet's root and has no defaults; if it is not digitnet's, rename it"
            yield Fault(message, file=source.path, line=1)
            return
        if top in PRESETS and not re.match(r"\s*#\s*@package +_global_\s*(\n|$)", source.text):
            message = f"{top}: a preset sets any group; its first line must be '# @package _global_'"
            yield Fault(message, file=source.path, line=1)
        if top in ("", *PRESETS):
            yield from self._lint_groups(source)
        for default in defaults:
            message = self._wrong(source, default)
            if message:
                yield Fault(f"defaults: {message}", file=source.path, line=default.line)

    def _lint_groups(self, source: YamlFile) -> Iterator[Fault]:
        """In a file that sets any group: a group is a mapping, and its option is chosen in defaults."""
        for key, value in _items(source.root):
            name, line = key.value, key.start_mark.line + 1
            if name not in (*GROUPS, *SECTIONS, "hydra"):
                continue
            if not isinstance(value, yaml.MappingNode):
                shown = value.value if isinstance(value, yaml.ScalarNode) else "OPTION"
                chosen = f"to choose an option, write 'override /{name}: {shown or 'OPTION'}' in defaults; "
                message = f"{chosen if name in GROUPS else ''}keys of {name} stand below '{name}:', indented"
                yield Fault(f"'{name}' is a group of keys; {message}", name, source.path, line)
            elif name in GROUPS and (line_of_name := source.line_of((name, "name"))):
                option = next(v.value for k, v in _items(value) if k.value == "name")
                message = f"to choose {option}, write 'override /{name}: {option}' in defaults"
                yield Fault(message, f"{name}.name", source.path, line_of_name)

    def _wrong(self, source: YamlFile, default: DefaultsEntry) -> str:
        group, option = default.group, default.option
        if group.split("/")[0] == "hydra" or self.find(default.name):
            if default.written and not default.overrides and source.group in PRESETS and group in self.groups:
                return f"{group} is chosen already; write 'override /{group}: {option}'"
            return ""
        if group and group not in self.groups:
            plain = default.written.split()[-1] if default.written else group
            if not plain.startswith("/") and plain in self.groups:
                return f"{plain} is looked for below {source.group}/; write 'override /{plain}: {option}'"
            return no_group(plain.lstrip("/"), self.groups)
        there = self.options(group) if group else [name for name in self.names if "/" not in name]
        return no_option(group, option, there)


def asks_for_sweep(overrides: Iterable[str]) -> bool:
    """Whether a preset of a sweep is chosen among them, which is one without -m, too."""
    return any(override.lstrip("+").startswith("sweep=") for override in overrides)


def no_group(group: str, there: Iterable[str]) -> str:
    """The message about a group that is not `there`."""
    return f"no group '{group}'" + (did_you_mean(group, there) or f"; there are {', '.join(sorted(there))}")


def no_option(group: str, option: str, there: Sequence[str]) -> str:
    """The message about an option that is not `there`."""
    near = did_you_mean(option, there)
    return f"{group}={option}: no such option{near}{' There' if near else '; there'} are {', '.join(there)}".lstrip("=")


def read_yaml(path: Path, name: str = "") -> YamlFile:
    """Parse one YAML file. Raises ConfigError if it cannot be read as a mapping without doubled keys."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(Fault("the file is not UTF-8 text", file=path)) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(not_yaml(error, path)) from error
    except yaml.YAMLError as error:
        raise ConfigError(Fault(f"the file is not YAML: {str(error).partition(chr(10))[0]}", file=path)) from error
    except RecursionError:
        raise ConfigError(Fault("the file is nested too deep", file=path)) from None
    except OSError as error:
        raise ConfigError(Fault(f"the file cannot be read: {error.strerror}", file=path)) from error
    source = YamlFile(name, path, text, root if isinstance(root, yaml.MappingNode) else None)
    if root is not None and source.root is None:
        raise source.error(f"the file has no keys; it is made of lines KEY: VALUE, this is {_shown(root)}", root)
    if faults := list(_malformed(path, root, "", (), set())):
        raise ConfigError(faults)
    return source


def not_yaml(error: yaml.MarkedYAMLError, path: Path) -> Fault:
    """The parser's complaint in the words of those who made the mistake, and their line."""
    problem = str(error.problem or error.context)
    mark = error.problem_mark or error.context_mark
    if "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    elif problem == "could not find expected ':'" and error.context_mark:
        problem, mark = "a line without ': ', colon and space", error.context_mark
    elif problem == "mapping values are not allowed here":
        problem = "a ':' too many, or a line indented too far"
    return Fault(f"the file is not YAML: {problem}", file=path, line=mark.line + 1 if mark else None)


def _malformed(
    path: Path, node: yaml.Node | None, prefix: str, above: tuple[int, ...], met: set[int]
) -> Iterator[Fault]:
    """Keys that stand twice, tags that would make objects of Python, aliases of what they stand in, open `${`."""
    if node is None:
        return
    line = node.start_mark.line + 1
    if id(node) in above:
        yield Fault(f"the alias in '{prefix.rstrip('.')}' leads back to itself", prefix.rstrip("."), path, line)
    if id(node) in met:
        return
    met.add(id(node))
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        yield Fault(f"the tag {tag} is not for configs", prefix.rstrip("."), path, line)
    if isinstance(node, yaml.ScalarNode) and node.value.count("${") > node.value.count("}"):
        dotted = prefix.rstrip(".")
        yield Fault(f"{dotted}={node.value}: the interpolation is not closed; write ${{KEY}}", dotted, path, line)
    first: dict[str, int] = {}
    for key, value in _items(node):
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield Fault("a key is a word; quote a value that begins with { or [", prefix.rstrip("."), path, line)
            continue
        name = key.value
        if name == "<<":
            yield Fault("'<<' is not for configs; 'defaults' takes in other files", prefix.rstrip("."), path, line)
        elif key.tag and not key.tag.endswith(":str"):
            yield Fault(f"the key '{name}' is no word to YAML; name it otherwise", prefix + name, path, line)
        if "." in name and not prefix.startswith(("defaults.", "hydra.sweeper.params.")):
            head, _, leaf = name.partition(".")
            message = f"'{prefix}{name}': in YAML write '{head}:' and below it, indented, '{leaf}: …'"
            yield Fault(message, prefix + name, path, line)
        if name in first:
            yield Fault(f"'{prefix}{name}' stands twice, first in line {first[name]}", prefix + name, path, line)
        first.setdefault(name, line)
        yield from _malformed(path, value, f"{prefix}{name}.", (*above, id(node)), met)


def _items(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """The pairs of a mapping; of a sequence, with the index as key."""
    if isinstance(node, yaml.MappingNode):
        yield from node.value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield yaml.ScalarNode("", str(index), item.start_mark), item


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
