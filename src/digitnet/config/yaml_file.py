"""A YAML file of the configuration as people wrote it: its entries, and the line of each key.

Hydra composes what these files say; they are parsed a second time so that a mistake can be reported with file and line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from digitnet.errors import ConfigError, Fault


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
        for key, value in node_items(node or self.root):
            if isinstance(value, yaml.MappingNode):
                yield from self.values(value, f"{prefix}{key.value}.")
            elif prefix or key.value != "defaults":
                yield f"{prefix}{key.value}", value.value if isinstance(value, yaml.ScalarNode) else "[…]"

    def line_of(self, keys: Sequence[str]) -> int | None:
        """The line of a key, given as its path ("trainer", "epochs"); None if the file has none such."""
        node: yaml.Node | None = self.root
        line = 1
        for key in keys:
            pair = next(((k, v) for k, v in node_items(node) if k.value == key), None)
            if pair is None:
                return None
            line, node = pair[0].start_mark.line + 1, pair[1]
        return line

    def defaults(self) -> list[DefaultsEntry]:
        """Its defaults list, without `_self_` and what is chosen by interpolation. Raises ConfigError if it is none."""
        entries = next((value for key, value in node_items(self.root) if key.value == "defaults"), None)
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
                raise self.error(f"defaults: {node_text(node)} is not the name of an option", node)
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
        raise source.error(f"the file has no keys; it is made of lines KEY: VALUE, this is {node_text(root)}", root)
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
    for key, value in node_items(node):
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


def node_items(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """The pairs of a mapping; of a sequence, with the index as key."""
    if isinstance(node, yaml.MappingNode):
        yield from node.value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield yaml.ScalarNode("", str(index), item.start_mark), item


def node_text(node: yaml.Node) -> str:
    """A node in a message: its text, or what it is."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
