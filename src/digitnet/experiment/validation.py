"""Checks that configurations compose, fit the schema and build, without training and, optionally, without torch."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from digitnet.config.compose import compose_incomplete, compose_job, composed_values, locate_faults
from digitnet.config.files import ROOT, Tree, asks_for_sweep, files_below, no_group
from digitnet.config.hydra_adapter import composing, is_readable
from digitnet.config.lint import file_faults, octal_numbers
from digitnet.config.rules import ADDED_SINCE, config_notes, run_length
from digitnet.config.schema import GROUPS, SECTIONS, Config
from digitnet.config.sweep_space import read_sweep
from digitnet.errors import ConfigError, Fault
from digitnet.report.findings import Finding
from digitnet.report.terminal import working
from digitnet.text import did_you_mean

CLASSES = 10  # of every data set except data=folder, which would have to be read first
CHECKED_EPOCHS = 1000  # of a schedule, at most


@dataclass(frozen=True)
class Validation:
    """The findings, each once, and the compositions that were checked, as typed on the command line."""

    findings: list[Finding]
    compositions: list[str]

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)


def validate(tree: Tree, overrides: Sequence[str] = (), schema_only: bool = False) -> Validation:
    """Check the composition with `overrides` or, without any, a composition with each option in `tree`.

    With `schema_only` nothing is built, so that neither torch nor the user's networks are imported. Faults are
    returned, not raised.
    """
    with composing(tree):  # so that each file is read once
        return _validate(tree, overrides, schema_only)


def _validate(tree: Tree, overrides: Sequence[str], schema_only: bool) -> Validation:
    compositions = [(tree, tuple(overrides))] if overrides else list(all_compositions(tree))
    findings: list[Finding] = []
    with working("checking configuration", len(compositions), to_terminal_only=True) as count:
        for its_tree, words in compositions:
            count()
            if not overrides and words and _root_values(tree) is None:  # then no option of it does, for the same reason
                faults = file_faults(tree, [words[0].lstrip("+").replace("=", "/", 1)])
                findings += [Finding("error", fault, words[0]) for fault in faults]
            else:
                findings += _check_composition(its_tree, words, schema_only)
    if not overrides:
        findings += _files_not_used(tree)
    findings += _octal_numbers(tree)
    once: dict[tuple[str, Fault], Finding] = {}  # a fault of the root is in every composition
    for finding in findings:
        once.setdefault((finding.severity, finding.fault), finding)
    return Validation(list(once.values()), [_label(*composition) for composition in compositions])


def all_compositions(tree: Tree) -> Iterator[tuple[Tree, tuple[str, ...]]]:
    """(tree, overrides) for each root, and for each option of a group that the root does not choose by default."""
    yield tree, ()
    try:
        chosen = {default.name for default in tree.read(tree.root).defaults()}
    except ConfigError:  # which composing the root reports
        chosen = set()
    added = _groups_not_in_root(tree)
    for name in tree.names:
        group, _, option = name.partition("/")
        if not option:
            if name != tree.root and _is_root(name, tree):
                yield Tree(tree.directories, name), ()
        elif name in chosen:
            continue
        elif group in GROUPS:
            yield tree, (f"{'+' if group in added else ''}{group}={option}",)
        elif group in ("hydra", *SECTIONS):
            group, _, option = name.rpartition("/")
            yield tree, (f"{'+' if group in SECTIONS else ''}{group}={option}",)


def _groups_not_in_root(tree: Tree) -> list[str]:
    """Groups that the user's root may not have, because it was written for an earlier version."""
    content = _root_values(tree)
    return [] if content is None else [group for group in ADDED_SINCE if group not in content]


@cache
def _root_values(tree: Tree) -> dict[str, Any] | None:
    """The values of the root without any option, unchecked; None if Hydra cannot compose it."""
    with contextlib.suppress(ConfigError):
        return composed_values((), tree)
    return None


def _is_root(name: str, tree: Tree) -> bool:
    """Whether a file at the top of a user's config directory is a root, for --config-name: it has a defaults list."""
    if not any((directory / f"{name}.yaml").is_file() for directory in tree.own):
        return False
    try:
        return bool(tree.read(name).defaults())
    except ConfigError:
        return True


def _label(tree: Tree, overrides: tuple[str, ...]) -> str:
    """The composition as typed on the command line; "" for the root as it is."""
    return " ".join(overrides if tree.root == ROOT else ("--config-name", tree.root, *overrides))


def _check_composition(tree: Tree, overrides: tuple[str, ...], schema_only: bool) -> list[Finding]:
    label = _label(tree, overrides)
    try:
        configs = _configs(tree, overrides)
    except ConfigError as error:
        faults = [*error.faults, *_faults_behind(error.faults, tree, overrides)]
        return [Finding("error", fault, label) for fault in dict.fromkeys(faults)]
    all_findings: list[Finding] = []
    for its_overrides, config in configs:
        findings = [Finding("warning", Fault(message, key), label) for key, message in config_notes(config)]
        if not schema_only:
            try:
                _build(config)
            except ConfigError as error:
                key = "model.target" if config.model.name == "custom" else "model.name"
                findings += [Finding("error", replace(fault, key=fault.key or key), label) for fault in error.faults]
        if findings:
            places = locate_faults([finding.fault for finding in findings], its_overrides, tree)
            all_findings += [replace(finding, fault=fault) for finding, fault in zip(findings, places, strict=True)]
    return all_findings


def _faults_behind(faults: Sequence[Fault], tree: Tree, overrides: tuple[str, ...]) -> Iterator[Fault]:
    """Faults of the values in a preset that Hydra does not compose, because of the `faults` of its defaults.

    Keys of the groups in its defaults are left out: which keys these have depends on the option that is at fault.
    """
    name = overrides[0].lstrip("+").replace("=", "/", 1) if len(overrides) == 1 else ""
    if name.partition("/")[0] != "experiment" or tree.find(name) is None:
        return
    with contextlib.suppress(ConfigError):  # the file cannot be read, which is among the faults
        source = tree.read(name)
        groups = {default.group for default in source.defaults()}
        if not any(fault.file == source.path and fault.message.startswith("defaults: ") for fault in faults):
            return
        for key, value in source.values():
            line = source.line_of(key.split("."))
            if key.partition(".")[0] in groups or not is_readable(f"{key}={value}") or "$" in value:
                continue
            try:
                compose_incomplete([f"{key}={value}"], tree)
            except ConfigError as error:
                yield from (replace(fault, file=source.path, line=line) for fault in error.faults if not fault.file)


def _configs(tree: Tree, overrides: tuple[str, ...]) -> list[tuple[list[str], Config]]:
    """(overrides, configuration) of a composition or, for a sweep preset, of as few jobs as have every value.

    Empty if a value is missing that only the user can give. Raises ConfigError.
    """
    if not asks_for_sweep(overrides):
        config = compose_incomplete(overrides, tree)
        return [(list(overrides), config)] if config else []
    request = read_sweep(overrides, tree, intervals=True)  # the preset may be one of digitnet tune
    configs: list[tuple[list[str], Config]] = []
    faults: dict[str, Fault] = {}

    def check_all(combinations: Sequence[list[str]]) -> None:
        for number, words in enumerate(combinations):
            try:
                configs.append((words, compose_job(words, request.hydra_overrides, number, tree).config))
            except ConfigError as error:
                faults.update({str(fault): fault for fault in request.located(error.faults)})

    with composing(tree):
        check_all(request.covering())
        if faults:  # a missing option hides the wrong values of its combination
            check_all(request.one_at_a_time(configs[0][0] if configs else None))
    if faults:
        raise ConfigError(faults.values())
    return configs


def _build(config: Config) -> None:
    """Build all that a training step needs, on the meta device (no memory, no arithmetic) if possible.

    Raises ConfigError.
    """
    import torch

    from digitnet.experiment import build
    from digitnet.models import check_output

    images = torch.empty(config.trainer.batch_size, 1, 28, 28, device="meta")
    try:
        with torch.device("meta"):
            model = build.model(config.model, CLASSES)
            check_output(model, images, CLASSES)
    except ConfigError:  # a network of the user may need real tensors, for .item() for instance
        model = build.model(config.model, CLASSES)
        check_output(model, torch.zeros(2, 1, 28, 28), CLASSES)
    build.optimizer(config.optimizer, model)
    build.augment(config.aug, torch.Generator())
    epochs = run_length(config)
    schedule = build.schedule(config.schedule, epochs)
    for epoch in range(min(epochs, CHECKED_EPOCHS)):
        factor = schedule(float(epoch))
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(Fault(f"schedule: the factor of epoch {epoch + 1} is {factor}", "schedule"))


def _octal_numbers(tree: Tree) -> Iterator[Finding]:
    """Warnings about numbers in the user's files that YAML reads as octal."""
    for name in tree.names:
        with contextlib.suppress(ConfigError):  # which the composition with it reports
            yield from (Finding("warning", fault) for fault in octal_numbers(tree.read(name)))


def _files_not_used(tree: Tree) -> Iterator[Finding]:
    """The user's files that no command line can choose: errors if the name is probably misspelt, else warnings."""
    used = _used_files(tree)
    for directory in tree.own:
        for path in files_below(directory):
            name = path.relative_to(directory)
            if len(name.parts) > 1 and name.parts[0] in (*GROUPS, *SECTIONS):
                if path.suffix == ".yml":
                    yield Finding("error", Fault("is ignored: the suffix must be .yaml", file=path))
            elif len(name.parts) > 1 and name.parts[0] != "hydra" and path.suffix == ".yaml":
                is_misspelt = bool(did_you_mean(name.parts[0], GROUPS))
                yield Finding("error" if is_misspelt else "warning", Fault(no_group(name.parts[0], GROUPS), file=path))
            elif len(name.parts) == 1 and path.suffix == ".yaml" and path.stem not in used:
                message = "is ignored: it has no defaults, as a root has, and is not in the folder of a group"
                yield Finding("warning", Fault(message, file=path))


def _used_files(tree: Tree) -> set[str]:
    """The files at the top that are roots, or in the defaults of a root."""
    roots = [name for name in tree.names if "/" not in name and (name == tree.root or _is_root(name, tree))]
    used = set(roots)
    for root in roots:
        with contextlib.suppress(ConfigError):
            used |= {default.name for default in tree.read(root).defaults()}
    return used
