"""Finds faults in the YAML files before Hydra composes them: in defaults lists, groups, and the places of files."""

from collections.abc import Iterable, Iterator

import yaml

from digitnet.config.files import Tree, no_group, no_option
from digitnet.config.schema import GROUPS, PRESETS, SECTIONS, SEVERAL
from digitnet.config.yaml_file import DefaultsEntry, YamlFile, node_items
from digitnet.errors import ConfigError, Fault


def file_faults(tree: Tree, names: Iterable[str]) -> list[Fault]:
    """The faults in the files of these names and in those that their defaults include, each once."""
    faults: dict[Fault, None] = {}  # in order, each once
    names = list(names)
    chosen = {name.rpartition("/")[0] for name in names}
    sources: list[tuple[YamlFile, list[str]]] = []
    for name in names:
        for fault in _walk(tree, name, [], chosen, sources):
            faults[fault] = None
    return list(faults or dict.fromkeys(_overridden_twice(sources, chosen)))


def _walk(
    tree: Tree, name: str, trail: list[str], chosen: set[str], sources: list[tuple[YamlFile, list[str]]]
) -> Iterator[Fault]:
    """The faults in a file and in those that its defaults include; `trail` has the files that include it.

    Each file and its trail are appended to `sources`.

    `chosen` are the groups whose options the command line chooses: the root's defaults of these are not used.
    """
    if tree.find(name) is None:  # one of Hydra's own, or missing: that is a fault of the file that includes it
        yield from _wrong_suffix(tree, name)
        return
    try:
        source = tree.read(name)
        defaults = source.defaults()
    except ConfigError as error:
        yield from error.faults
        return
    sources.append((source, trail))
    yield from _lint(tree, source, defaults)
    for default in defaults:
        path = [*trail, name]
        if default.name in path:
            cycle = " -> ".join([*path[path.index(default.name) :], default.name])
            hint = (
                "; a file that replaces a packaged one must have all keys itself; or rename it"
                if default.name == name
                else ""
            )
            yield Fault(f"defaults: form a cycle, {cycle}{hint}", file=source.path, line=default.line)
        elif not (name == tree.root and default.group in chosen):
            yield from _walk(tree, default.name, path, chosen, sources)


def _wrong_suffix(tree: Tree, name: str) -> Iterator[Fault]:
    group, _, option = name.rpartition("/")
    for path in (directory / f"{name}.yml" for directory in tree.own):
        if group in GROUPS and path.is_file():
            yield Fault(f"{group}={option}: its file is ignored; the suffix must be .yaml", file=path)
            return


def _lint(tree: Tree, source: YamlFile, defaults: Iterable[DefaultsEntry]) -> Iterator[Fault]:
    """The faults in one file, except those of values."""
    top = source.group.split("/")[0]
    if top and top not in (*GROUPS, *SECTIONS, "hydra"):
        yield Fault(no_group(top, GROUPS), file=source.path)
        return
    if top in GROUPS and top not in (source.group, *PRESETS):
        yield Fault(f"the file is too deep; an option of {top} is a file in {top}/", file=source.path)
        return
    if source.name == tree.root and source.line_of(("defaults",)) is None:
        message = "the file replaces digitnet's root and has no defaults; if it is not for digitnet, rename it"
        yield Fault(message, file=source.path, line=1)
        return
    if message := _wrong_header(source):
        yield Fault(message, file=source.path, line=1)
    if source.is_plain_sweep and defaults:
        message = "defaults: a sweep preset has none; choose an option as a key, 'aug: distort'"
        yield Fault(message, file=source.path, line=source.line_of(("defaults",)))
        return
    if top in ("", *PRESETS) and not source.is_plain_sweep:
        yield from _lint_groups(source)
    for default in defaults:
        message = _wrong_default(tree, source, default)
        if message:
            yield Fault(f"defaults: {message}", file=source.path, line=default.line)


def _overridden_twice(sources: Iterable[tuple[YamlFile, list[str]]], chosen: set[str]) -> Iterator[Fault]:
    """Entries `override /GROUP: OPTION` that have no effect: of several, Hydra takes the first, and says nothing.

    `sources` are files in Hydra's order, each with those that include it: these may override what it overrides.
    """
    first: dict[str, tuple[YamlFile, DefaultsEntry]] = {}
    for source, trail in sources:
        for default in source.defaults():
            if not default.overrides or default.group in chosen:
                continue
            by, entry = first.setdefault(default.group, (source, default))
            if by is source and entry.line == default.line:  # a list of options, which Hydra merges
                if entry is not default and default.group not in SEVERAL:
                    message = f"{default.written}: has several options; name one"
                    yield Fault(f"defaults: {message}", file=source.path, line=default.line)
                continue
            if entry is not default and entry.option != default.option and by.name not in trail:
                place = Fault("", file=by.path, line=entry.line).place
                message = f"'{default.written}: {default.option}' has no effect after '{entry.option}' in {place}; "
                message += f"leave one out, or choose on the command line: {default.group}={default.option}"
                yield Fault(f"defaults: {message}", file=source.path, line=default.line)


def _wrong_header(source: YamlFile) -> str:
    """The fault of the file's header, which says where Hydra puts its keys; "" if there is none."""
    group = source.group
    top = group.split("/")[0]
    if source.text.startswith("\ufeff#"):
        return "Hydra does not read a first line behind a byte order mark; save the file as UTF-8 without it"
    for words in source.header:
        if len(words) != 2:
            return f"'# {' '.join(words)}': Hydra reads a first line with '# @' as '# @KEY VALUE'; leave out the '@'"
    packages = [package for key, package in source.header if key == "@package"]
    if source.is_plain_sweep:
        return ""
    if top in PRESETS:
        is_global = packages == ["_global_"]
        return "" if is_global else f"{top}: a preset sets any group; its first line must be '# @package _global_'"
    if not group or set(packages) <= {"_group_", group.replace("/", ".")}:
        return ""
    return (
        f"its keys would be in {packages[-1]}, not in {group.replace('/', '.')}; leave out '# @package {packages[-1]}'"
    )


def _lint_groups(source: YamlFile) -> Iterator[Fault]:
    """Faults in a file that may set any group: a group must be a mapping, and its option be chosen in defaults."""
    for key, value in node_items(source.root):
        name, line = key.value, key.start_mark.line + 1
        if name not in (*GROUPS, *SECTIONS, "hydra"):
            continue
        if not isinstance(value, yaml.MappingNode):
            shown = value.value if isinstance(value, yaml.ScalarNode) else "OPTION"
            chosen = f"to choose an option, write 'override /{name}: {shown or 'OPTION'}' in defaults; "
            message = f"{chosen if name in GROUPS else ''}write keys of {name} below '{name}:', indented"
            yield Fault(f"'{name}' is a group of keys; {message}", name, source.path, line)
        elif name in GROUPS and (line_of_name := source.line_of((name, "name"))):
            option = next(v.value for k, v in node_items(value) if k.value == "name")
            message = f"to choose {option}, write 'override /{name}: {option}' in defaults"
            yield Fault(message, f"{name}.name", source.path, line_of_name)


def _wrong_default(tree: Tree, source: YamlFile, default: DefaultsEntry) -> str:
    """The fault of an entry of a defaults list; "" if there is none."""
    group, option = default.group, default.option
    if group.split("/")[0] == "hydra" or tree.find(default.name):
        if default.written and not default.overrides and source.group in PRESETS and group in tree.groups:
            return f"{group} is chosen already; write 'override /{group}: {option}'"
        return ""
    if group and group not in tree.groups:
        plain = default.written.split()[-1] if default.written else group
        if not plain.startswith("/") and plain in tree.groups:
            return f"{plain} is searched in {source.group}/; write 'override /{plain}: {option}'"
        return no_group(plain.lstrip("/"), tree.groups)
    existing = tree.options(group) if group else [name for name in tree.names if "/" not in name]
    return no_option(group, option, existing)


def octal_numbers(source: YamlFile) -> Iterator[Fault]:
    """A warning for each number of the file that begins with 0: YAML 1.1 reads it as octal, 010 as 8."""
    for key, written, line in source.octal_numbers():
        value, plain = int(written.replace("_", ""), 8), int(written.replace("_", ""))
        message = f"{key}: {written} is {value} in YAML, as 0 in front means octal; write {value} or {plain}"
        yield Fault(message, key, source.path, line)
