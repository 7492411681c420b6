"""A YAML file of the configuration as written: its entries, and the line of each key.

Hydra composes what these files say; they are parsed a second time so that a mistake can be reported with file and line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import yaml

from digitnet.errors import ConfigError, Fault

LARGEST_FILE = 1_000_000  # bytes
MOST_VALUES = 10_000  # in a file: some levels of aliases would have billions


@dataclass(frozen=True)
class DefaultsEntry:
    """An entry of a defaults list; `name` is that of the included file below the config directory ("model/lenet5")."""

    group: str  # "" for a file at the top
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

    name: str  # below its config directory, without the suffix: "model/lenet5"
    path: Path
    text: str
    root: yaml.MappingNode | None  # None: an empty file

    @property
    def group(self) -> str:
        """The group that it is an option of; "" for a file at the top."""
        return self.name.rpartition("/")[0]

    @property
    def is_plain_sweep(self) -> bool:
        """Whether it is a sweep preset whose keys, dotted, are those that are swept: `optimizer.lr: 0.1,0.3`."""
        return self.group == "sweep" and not any(key == "@package" for key, *_ in self.header)

    @property
    def description(self) -> str:
        """Its first comment line."""
        lines = re.findall(r"^#\s*(.*)", self.text, flags=re.MULTILINE)
        return next((line for line in lines if not line.startswith(("@", "yaml-language-server"))), "")

    @property
    def comments(self) -> dict[str, str]:
        """The comments after values, by the last part of the key: {"shift": "fraction of the width"}."""
        return dict(re.findall(r"^ *(\w+):[^#\n]*# (.+)$", self.text, flags=re.MULTILINE))

    @property
    def header(self) -> list[list[str]]:
        """The words of each line `# @KEY VALUE` at its beginning; `@package` is where Hydra puts the file's keys."""
        lines = (line.strip() for line in self.text.splitlines() if line.strip())
        return [line.lstrip("# ").split() for line in takewhile(lambda line: re.match(r"#\s*@", line), lines)]

    def octal_numbers(self, node: yaml.Node | None = None, prefix: str = "") -> Iterator[tuple[str, str, int]]:
        """(dotted key, number as written, line) of each number that begins with 0, which YAML reads as octal."""
        for key, value in node_items(node or self.root):
            dotted = f"{prefix}{key.value}"
            if isinstance(value, yaml.ScalarNode):
                if value.tag.endswith(":int") and re.fullmatch(r"[-+]?0[0-7_]+", value.value):
                    yield dotted, value.value, value.start_mark.line + 1
            else:
                yield from self.octal_numbers(value, f"{dotted}.")

    def values(self, node: yaml.Node | None = None, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Its dotted keys and their values as written, without `defaults`."""
        for key, value in node_items(node or self.root):
            if isinstance(value, yaml.MappingNode):
                yield from self.values(value, f"{prefix}{key.value}.")
            elif prefix or key.value != "defaults":
                yield f"{prefix}{key.value}", value.value if isinstance(value, yaml.ScalarNode) else "[…]"

    def line_of(self, keys: Sequence[str]) -> int | None:
        """The line of a key, given as its path ("trainer", "epochs"); None if the file does not have it."""
        node: yaml.Node | None = self.root
        line = 1
        for key in keys:
            pair = next(((k, v) for k, v in node_items(node) if k.value == key), None)
            if pair is None:
                return None
            line, node = pair[0].start_mark.line + 1, pair[1]
        return line

    def defaults(self) -> list[DefaultsEntry]:
        """Its defaults list, without `_self_`, optional and interpolated entries. Raises ConfigError if malformed."""
        entries = next((value for key, value in node_items(self.root) if key.value == "defaults"), None)
        if entries is None:
            return []
        if not isinstance(entries, yaml.SequenceNode):
            raise self.error("defaults: is a list; write each entry on its own line after '- '", entries)
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
                raise self.error(f"defaults: '{option}' is not GROUP: OPTION, with a space after the colon", entry)
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
    """Parse one YAML file. Raises ConfigError if it cannot be read, is not a mapping, or has a key twice."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigError(Fault(f"the file has more than {LARGEST_FILE:,} bytes: no configuration", file=path))
        text = content.decode("utf-8")
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
        raise source.error(f"the file has no keys; it should have lines KEY: VALUE, this is {node_text(root)}", root)
    if faults := list(_malformed(path, root, "", (), set(), source.is_plain_sweep)):
        raise ConfigError(faults)
    if (count := _expanded_size(root, {})) > MOST_VALUES:
        raise source.error(f"the file has {count:,} values when its aliases are written out; at most {MOST_VALUES:,}")
    return source


def _expanded_size(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """The number of nodes with each alias written out, as Hydra reads it; `sizes` are those of nodes by their ids."""
    if node is not None and id(node) not in sizes:
        sizes[id(node)] = 1 + sum(_expanded_size(value, sizes) for _, value in node_items(node))
    return sizes[id(node)] if node is not None else 0


def not_yaml(error: yaml.MarkedYAMLError, path: Path) -> Fault:
    """Translate the YAML parser's error into a fault with its line."""
    problem = str(error.problem or error.context)
    mark = error.problem_mark or error.context_mark
    if problem == "but found another document":
        problem = "a second document; leave out the '---' between them"
    elif "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    elif problem == "could not find expected ':'" and error.context_mark:
        problem, mark = "a line without ': ', colon and space", error.context_mark
    elif problem == "mapping values are not allowed here":
        problem = "a ':' too many, or a line indented too far"
    return Fault(f"the file is not YAML: {problem}", file=path, line=mark.line + 1 if mark else None)


def _malformed(
    path: Path, node: yaml.Node | None, prefix: str, ancestors: tuple[int, ...], visited: set[int], dots: bool
) -> Iterator[Fault]:
    """Duplicate keys, tags that would create Python objects, aliases that contain themselves, unclosed `${`.

    Keys with dots too, unless `dots` are allowed. `ancestors` and `visited` are ids of nodes: an alias is the same node
    again.
    """
    if node is None:
        return
    line = node.start_mark.line + 1
    if id(node) in ancestors:
        yield Fault(f"the alias in '{prefix.rstrip('.')}' leads back to itself", prefix.rstrip("."), path, line)
    if id(node) in visited:
        return
    visited.add(id(node))
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        yield Fault(f"the tag {tag} is not allowed in configs", prefix.rstrip("."), path, line)
    if isinstance(node, yaml.ScalarNode) and node.value.count("${") > node.value.count("}"):
        dotted = prefix.rstrip(".")
        yield Fault(f"{dotted}={node.value}: the interpolation is not closed; write ${{KEY}}", dotted, path, line)
    first: dict[str, int] = {}
    for key, value in node_items(node):
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield Fault("a key must be a word; quote a value that begins with { or [", prefix.rstrip("."), path, line)
            continue
        name = key.value
        if name == "<<":
            yield Fault(
                "'<<' is not allowed in configs; to include other files, use 'defaults'", prefix.rstrip("."), path, line
            )
        elif key.tag and not key.tag.endswith(":str"):
            yield Fault(f"the key '{name}' is not text in YAML; use another name", prefix + name, path, line)
        if "." in name and not dots and not prefix.startswith(("defaults.", "hydra.sweeper.params.")):
            head, _, leaf = name.partition(".")
            message = f"'{prefix}{name}': in YAML write '{head}:' and below it, indented, '{leaf}: …'"
            yield Fault(message, prefix + name, path, line)
        if name in first:
            yield Fault(f"'{prefix}{name}' occurs twice, first in line {first[name]}", prefix + name, path, line)
        first.setdefault(name, line)
        yield from _malformed(path, value, f"{prefix}{name}.", (*ancestors, id(node)), visited, dots)


def node_items(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """The (key, value) pairs of a mapping; of a sequence, with indices as keys."""
    if isinstance(node, yaml.MappingNode):
        yield from node.value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield yaml.ScalarNode("", str(index), item.start_mark), item


def node_text(node: yaml.Node) -> str:
    """A node in a message: its text, or `a list` or `a mapping`."""
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
