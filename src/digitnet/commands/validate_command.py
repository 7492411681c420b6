"""Check that every configuration composes, fits the schema and builds; or only the one given.

Checks the root, every option of every group, every experiment and every value of every sweep, of digitnet's own and of
your config directory (./conf, --config-dir): YAML, defaults, keys, types, ranges, and what must fit together. Then it
builds each network without memory or arithmetic (on torch's meta device), passes the shape of a batch through it, and
builds its optimizer and its schedule; networks of your own are imported for that. What only a machine can tell, as
whether it has the device and its precision, is left to the run. Exit code 0, or 2 if anything is wrong: all is
reported, with file and line.

  digitnet validate                              everything
  digitnet validate model=lenet5 aug=distort     one composition
  digitnet validate --schema-only                without torch, in less time; imports no network of yours
  digitnet validate --format github              in a GitHub workflow: annotations on the lines of a pull request
"""

import argparse
import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from digitnet.config.files import ROOT, Tree, asks_for_sweep, no_group
from digitnet.config.schema import GROUPS, SECTIONS, Config, config_warnings, run_length
from digitnet.errors import ConfigError, Fault
from digitnet.text import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="GROUP=OPTION or KEY=VALUE: check one composition"
    )
    parser.add_argument("--format", choices=("text", "json", "github"), default="text", help="(default: text)")
    parser.add_argument("--schema-only", action="store_true", help="build nothing, import no torch")
    parser.add_argument("--config-dir", metavar="FOLDER", help="as for training: options of your own, besides ./conf")
    parser.add_argument("--config-name", metavar="NAME", default=ROOT, help="another file than config.yaml as the root")


@dataclass(frozen=True)
class Finding:
    """A fault, or what can be meant, and the composition that brought it to light, as the command line has it."""

    severity: str  # error, warning
    fault: Fault
    composition: str = ""


def main(options: argparse.Namespace) -> None:
    """Print what is wrong; raises ConfigError if anything is."""
    tree = Tree.at(options.config_dir, options.config_name)
    compositions = [(tree, tuple(options.overrides))] if options.overrides else list(_all(tree))
    findings: dict[tuple[str, Fault], Finding] = {}  # each once: what is wrong with the root is so in every composition
    for its_tree, overrides in compositions:
        for finding in _look(its_tree, overrides, options.schema_only):
            findings.setdefault((finding.severity, finding.fault), finding)
    if not options.overrides:
        for finding in _strays(tree):
            findings.setdefault((finding.severity, finding.fault), finding)

    for line in FORMATS[options.format](list(findings.values()), len(compositions)):
        print(line)
    if errors := sum(finding.severity == "error" for finding in findings.values()):
        count = f"{errors} fault{'s' if errors > 1 else ''}"
        raise ConfigError(f"{count} in {_configurations(len(compositions))}")


def _configurations(count: int) -> str:
    return f"{count} configuration{'s' if count > 1 else ''}"


def _all(tree: Tree) -> Iterator[tuple[Tree, tuple[str, ...]]]:
    """The roots, and each option of each group that is not of the first root anyway."""
    yield tree, ()
    try:
        chosen = {default.name for default in tree.read(tree.root).defaults()}
    except ConfigError:  # which composing the root reports
        chosen = set()
    for name in tree.names:
        group, _, option = name.partition("/")
        if not option:
            if name != tree.root and _is_root(name, tree):
                yield Tree(tree.directories, name), ()
        elif name in chosen:
            continue
        elif group in GROUPS:
            yield tree, (f"{group}={option}",)
        elif group in ("hydra", *SECTIONS):
            group, _, option = name.rpartition("/")
            yield tree, (f"{'+' if group in SECTIONS else ''}{group}={option}",)


def _is_root(name: str, tree: Tree) -> bool:
    """Whether a file at the top of a config directory of the user's is for --config-name: it has a defaults list."""
    if not any((directory / f"{name}.yaml").is_file() for directory in tree.own):
        return False
    try:
        return bool(tree.read(name).defaults())
    except ConfigError:
        return True


def _look(tree: Tree, overrides: tuple[str, ...], schema_only: bool) -> list[Finding]:
    """What there is to say of one composition."""
    from digitnet.config.compose import compose_incomplete, locate_faults
    from digitnet.sweep.plan import plan_sweep

    label = " ".join(overrides if tree.root == ROOT else ("--config-name", tree.root, *overrides))
    try:
        if asks_for_sweep(overrides):
            plan = plan_sweep(overrides, tree)
            jobs = [(job.overrides, Config.model_validate(job.config)) for job in plan.jobs(plan.covering())]
        else:
            config = compose_incomplete(overrides, tree)
            jobs = [(list(overrides), config)] if config else []  # none for want of a value that only a user can give
    except ConfigError as error:
        return [Finding("error", fault, label) for fault in error.faults]
    found: list[Finding] = []
    for its_overrides, config in jobs:
        findings = [("warning", Fault(message, key)) for key, message in config_warnings(config)]
        if not schema_only:
            try:
                _build(config)
            except ConfigError as error:
                key = "model.target" if config.model.name == "custom" else "model.name"
                findings += [("error", replace(fault, key=fault.key or key)) for fault in error.faults]
        places = locate_faults([fault for _, fault in findings], its_overrides, tree) if findings else []
        found += [Finding(severity, fault, label) for (severity, _), fault in zip(findings, places, strict=True)]
    return found


def _build(config: Config) -> None:
    """Build everything that stands between a configuration and a training step. Raises ConfigError."""
    import torch

    from digitnet.experiment import build
    from digitnet.models import check_output

    classes = 10  # as all data sets here have; of a user's folder, nobody knows before reading it
    images = torch.empty(config.trainer.batch_size, 1, 28, 28, device="meta")
    try:
        with torch.device("meta"):
            model = build.model(config.model, classes)
            check_output(model, images, classes)
    except ConfigError:  # a network of the user's may do what only real tensors can, as .item()
        model = build.model(config.model, classes)
        check_output(model, torch.zeros(2, 1, 28, 28), classes)
    build.optimizer(config.optimizer, model)
    build.augment(config.aug, torch.Generator())
    epochs = run_length(config)
    schedule = build.schedule(config.schedule, epochs)
    for epoch in range(min(epochs, 1000)):
        factor = schedule(float(epoch))
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(Fault(f"schedule: the factor of epoch {epoch + 1} is {factor}", "schedule"))


def _strays(tree: Tree) -> Iterator[Finding]:
    """Files of the user's that no command line can choose: slips if they are nearly right, else perhaps of others."""
    taken = _taken(tree)
    for directory in tree.own:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if len(name.parts) > 1 and name.parts[0] in (*GROUPS, *SECTIONS):
                if path.suffix == ".yml":
                    yield Finding("error", Fault("is not looked at: the ending is .yaml", file=path))
            elif len(name.parts) > 1 and name.parts[0] != "hydra" and path.suffix == ".yaml":
                severity = "error" if did_you_mean(name.parts[0], GROUPS) else "warning"
                yield Finding(severity, Fault(no_group(name.parts[0], GROUPS), file=path))
            elif len(name.parts) == 1 and path.suffix == ".yaml" and path.stem not in taken:
                message = "is not looked at: it has no defaults, as a root has, and is in the folder of no group"
                yield Finding("warning", Fault(message, file=path))


def _taken(tree: Tree) -> set[str]:
    """The files that are roots, or in the defaults of one."""
    roots = [other for other in tree.names if "/" not in other and (other == tree.root or _is_root(other, tree))]
    taken = set(roots)
    for root in roots:
        with contextlib.suppress(ConfigError):
            taken |= {default.name for default in tree.read(root).defaults()}
    return taken


def _text(findings: Sequence[Finding], checked: int) -> Iterator[str]:
    """`conf/aug/mine.yaml:3: message [aug=mine]`, as compilers write it."""
    for finding in findings:
        fault = finding.fault
        place = f"{fault.place}: " if fault.file else ""
        warning = "warning: " if finding.severity == "warning" else ""
        label = f" [{finding.composition}]" if finding.composition else ""
        yield f"{place}{warning}{fault.message}{label}".replace("\n", " ")  # a line each, for other programs
    if not any(finding.severity == "error" for finding in findings):
        yield f"{_configurations(checked)}, no fault"


def _json(findings: Sequence[Finding], checked: int) -> Iterator[str]:
    rows = [
        {
            "severity": finding.severity,
            "file": str(fault.file) if (fault := finding.fault).file else None,
            "line": fault.line,
            "key": fault.key or None,
            "message": fault.message,
            "composition": finding.composition,
        }
        for finding in findings
    ]
    yield json.dumps({"checked": checked, "findings": rows}, indent=2)


def _github(findings: Sequence[Finding], checked: int) -> Iterator[str]:
    """Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    for finding in findings:
        fault = finding.fault
        parts = {"file": fault.place.removesuffix(f":{fault.line}"), "line": fault.line, "title": "digitnet validate"}
        properties = ",".join(f"{key}={_escape(str(value), ':,')}" for key, value in parts.items() if value)
        label = f" [{finding.composition}]" if finding.composition else ""
        yield f"::{finding.severity} {properties}::{_escape(fault.message + label)}"


def _escape(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


FORMATS: dict[str, Callable[[Sequence[Finding], int], Iterator[str]]] = {
    "text": _text,
    "json": _json,
    "github": _github,
}
