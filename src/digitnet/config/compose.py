"""Composes the configuration from the command line and YAML, and checks it."""

import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from digitnet.config.check import check, no_key
from digitnet.config.dotted import nested_items, nested_keys
from digitnet.config.explain import chosen_files, explain, first_line
from digitnet.config.files import ROOT, Tree
from digitnet.config.guard import (
    check_custom_model_chosen,
    check_form,
    check_harmless,
    check_interpolations,
    check_job_name,
    check_root,
)
from digitnet.config.hydra_adapter import (
    asks_for_multirun,
    compose_config,
    composing,
    files_used,
    resolving,
    run_command_line,
)
from digitnet.config.lint import file_faults, octal_numbers
from digitnet.config.provenance import located
from digitnet.config.schema import Config
from digitnet.config.sweep_preset import move_swept_values
from digitnet.errors import SHOWN_FAULTS, ConfigError, DigitnetError, Fault


@dataclass(frozen=True)
class Composition:
    """A configuration that passed the checks, with the run's folder and the command that composes it again."""

    config: Config
    run_dir: Path
    command: str
    _composed: DictConfig
    warnings: tuple[str, ...] = ()  # about the YAML files

    @property
    def shared(self) -> dict[str, Any]:
        """See `shared_settings`."""
        return shared_settings(self._composed)

    def hydra_files(self) -> dict[str, str]:
        """The text of each file of `.hydra/` in the run's folder, by its name, as Hydra writes them."""
        hydra_node = OmegaConf.masked_copy(self._composed, "hydra")
        OmegaConf.set_readonly(hydra_node.hydra, False)
        hydra_node.hydra.runtime.output_dir = str(self.run_dir.absolute())
        return {
            "config.yaml": OmegaConf.to_yaml(_without_hydra(self._composed)),
            "hydra.yaml": OmegaConf.to_yaml(hydra_node),
            "overrides.yaml": OmegaConf.to_yaml(self._composed.hydra.overrides.task),
        }


def compose_run(overrides: Sequence[str], tree: Tree) -> Composition:
    """Compose and check the configuration of a single run. Raises ConfigError with all faults."""
    with composing(tree):
        composed = compose_unchecked(overrides, tree)
        config = _check(composed, tree, overrides)
        assert config is not None
        if asks_for_multirun(composed) or composed.hydra.sweeper.params:
            what = "hydra.sweeper.params" if composed.hydra.sweeper.params else "hydra.mode=MULTIRUN"
            raise ConfigError(f"{what}: a sweep is started with -m")
        for override in overrides:
            key, _, value = override.lstrip("+").partition("=")
            if key == "hydra.sweep.dir":
                raise ConfigError(f"{override}: is of a sweep; for a single run, write hydra.run.dir={value}")
        return Composition(
            config,
            chosen_folder(composed, "run.dir"),
            command_line(overrides, tree),
            composed,
            warnings_of_files(overrides, tree),
        )


def compose_job(overrides: Sequence[str], hydra_overrides: Sequence[str], number: int, tree: Tree) -> Composition:
    """Compose and check job `number` of a sweep; the caller sets `run_dir`.

    Call it inside `composing`. Raises ConfigError with all faults.
    """
    composed = compose_unchecked([*hydra_overrides, *overrides], tree)
    with open_dict(composed.hydra):
        composed.hydra.job.num, composed.hydra.job.id = number, str(number)
    config = _check(composed, tree, overrides)
    assert config is not None
    return Composition(config, Path(), command_line(overrides, tree), composed)


def load_config(overrides: Sequence[str], config_dir: str | Path | None = None) -> Config:
    """Compose and check the configuration of a single run, and return it. Raises ConfigError with all faults."""
    return compose_run(overrides, Tree.at(config_dir)).config


def compose_incomplete(overrides: Sequence[str], tree: Tree) -> Config | None:
    """As `load_config`, but returns None if a value is missing (`???`) that only the user can give.

    Raises ConfigError with all other faults.
    """
    with composing(tree):
        return _check(compose_unchecked(overrides, tree), tree, overrides, incomplete=True)


def shared_settings(composed: DictConfig) -> dict[str, Any]:
    """What all jobs of a sweep have in common in Hydra's node, as written: where they run, and what proposes them."""
    node = composed.hydra
    return {
        "hydra/launcher": OmegaConf.to_container(node.launcher),
        "hydra/sweeper": OmegaConf.to_container(node.sweeper),
        "hydra.sweep.dir": OmegaConf.to_container(node.sweep)["dir"],  # type: ignore[index, call-overload]
    }


def warnings_of_files(overrides: Sequence[str], tree: Tree) -> tuple[str, ...]:
    """Warnings about the user's files that are composed. Call it inside `composing`."""
    names = {name for _, name in files_used(tree.root, overrides)} if tree.own else set()
    faults = [fault for name in sorted(names) if tree.find(name) for fault in octal_numbers(tree.read(name))]
    return tuple(map(str, faults))


def composed_values(overrides: Sequence[str], tree: Tree) -> dict[str, Any]:
    """The composed configuration, unresolved and unchecked, to see which keys it has. Raises ConfigError."""
    with composing(tree):
        composed = compose_unchecked(overrides, tree)
        content = OmegaConf.to_container(_without_hydra(composed))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def composed_group(group: str, overrides: Sequence[str], tree: Tree) -> Any:
    """The values of one group of the composed configuration, resolved but unchecked. Raises ConfigError."""
    with composing(tree):
        composed = compose_unchecked(overrides, tree)
        return _resolve(OmegaConf.masked_copy(composed, group), composed)[group]


def show_config(overrides: Sequence[str], tree: Tree, flags: Sequence[str]) -> None:
    """Let Hydra print what its `flags` request. Raises ConfigError; for wrong values, after printing."""
    with composing(tree):
        composed = compose_unchecked(overrides, tree)
        keys = list(nested_keys(OmegaConf.to_container(composed)))
    if "--package" in flags:
        package, shown = (flags[flags.index(flag) + 1] for flag in ("--package", "--cfg"))
        if package not in [*keys, "_global_"]:
            raise ConfigError(no_key(package, [key for key in keys if not key.startswith("hydra.")]))
        part = "hydra" if package.partition(".")[0] == "hydra" else "job"
        if shown not in (part, "all") and package != "_global_":
            raise ConfigError(f"--cfg {shown} does not show {package}; use --cfg {part}")
    try:
        run_command_line([*flags, *overrides], tree)
    except (DigitnetError, OSError):  # OSError: the output cannot be written
        raise
    except Exception as error:
        raise explain(error, overrides, tree) from error
    if "--cfg" in flags:
        compose_incomplete(overrides, tree)


def compose_unchecked(overrides: Sequence[str], tree: Tree) -> DictConfig:
    """Compose the configuration with Hydra's own node. Only that node is checked, by `check_harmless`.

    Call it inside `composing`. Raises ConfigError.
    """
    for override in overrides:
        check_form(override)
    if {"schedule.epochs", "trainer.epochs"} <= {override.lstrip("+").partition("=")[0] for override in overrides}:
        raise ConfigError("schedule.epochs and trainer.epochs are both the run's length; leave one out")
    if faults := file_faults(tree, chosen_files(overrides, tree)):
        raise ConfigError(_with_hint_at_conf(faults, tree))
    try:
        check_root(tree.read(tree.root))
        composed = compose_config(tree.root, overrides)
        move_swept_values(composed, overrides, tree)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(_with_hint_at_conf(explain(error, overrides, tree).faults, tree)) from error
    try:
        check_interpolations(OmegaConf.to_container(composed))
        check_harmless(composed.hydra)
        check_job_name(composed, overrides)
    except ConfigError as error:
        raise located(error, tree, overrides) from None
    return composed


def _with_hint_at_conf(faults: Sequence[Fault], tree: Tree) -> list[Fault]:
    """The faults; if some are in a ./conf of another program, with a fault that says that it is read."""
    folder = tree.foreign
    root = tree.find(tree.root)
    if folder is None or not any(file and file.is_relative_to(folder) for file in (root, *(f.file for f in faults))):
        return list(faults)
    hint = Fault("./conf is read for digitnet's options; if it is another program's, use another working directory")
    return [*faults[: SHOWN_FAULTS - 1], hint, *faults[SHOWN_FAULTS - 1 :]]


def _check(composed: DictConfig, tree: Tree, overrides: Sequence[str], incomplete: bool = False) -> Config | None:
    """Resolve the configuration and check it against the schema. Raises ConfigError with files and lines.

    With `incomplete`, values may be missing, and the result is None if any is.
    """
    task = _without_hydra(composed)
    missing: list[str] = []
    with contextlib.suppress(OmegaConfBaseException):  # an interpolation of an unknown key, which `_resolve` reports
        missing = sorted(OmegaConf.missing_keys(task))
    try:
        if missing and not incomplete:
            raise ConfigError([Fault(f"{key}: has no value; set {key}=VALUE", key) for key in missing])
        config = check(_resolve(task, composed))
        if config.model.name == "custom":
            option = str(composed.hydra.runtime.choices.get("model"))
            check_custom_model_chosen(config.model.target, option, tree, overrides)
    except ConfigError as error:
        faults = [
            _with_decoding_hint(fault, task) for fault in error.faults if not (incomplete and fault.key in missing)
        ]
        if faults:
            faults = located(ConfigError(faults), tree, overrides).faults
            raise ConfigError(_with_hint_at_conf(faults, tree)) from error
        return None
    return None if missing else config


def _with_decoding_hint(fault: Fault, task: DictConfig) -> Fault:
    """The fault; with how to write it, if its key should be a number and is the text of an environment variable."""
    raw = dict(nested_items(OmegaConf.to_container(task))).get(fault.key)
    if isinstance(raw, str) and (match := re.fullmatch(r"\$\{oc\.env:[^{}]*\}", raw)) and "should be" in fault.message:
        return replace(
            fault, message=f'{fault.message}; a variable is text: write "${{oc.decode:{match[0]}}}", with the quotes'
        )
    return fault


def _resolve(task: DictConfig, composed: DictConfig) -> dict[Any, Any]:
    """Plain values, with interpolations resolved."""
    try:
        with resolving(composed):
            content = OmegaConf.to_container(task, resolve=True)
    except OmegaConfBaseException as error:
        key, text = str(error.full_key), first_line(error)
        if match := re.match("Interpolation key '([^']+)' not found", text):
            text = no_key(match[1], nested_keys(OmegaConf.to_container(task)))
        text = re.sub(r'^\w+ raised while resolving interpolation: "?(.*?)"?$', r"\1", text)
        raise ConfigError(Fault(f"{key}: {text}", key)) from error
    assert isinstance(content, dict)
    return content


def locate_faults(faults: Iterable[Fault], overrides: Sequence[str], tree: Tree) -> list[Fault]:
    """Add to each fault the file and line that its key comes from, unless that is the command line."""
    with composing(tree):
        return located(ConfigError(faults), tree, overrides).faults


def chosen_folder(composed: DictConfig, key: str) -> Path:
    """The value of `key`, `run.dir` or `sweep.dir`, in Hydra's node. Raises ConfigError."""
    try:
        folder = OmegaConf.select(composed.hydra, key, throw_on_missing=True)
        if not folder:
            raise ConfigError(f"hydra.{key}: is empty; give a folder")
        return Path(os.path.expanduser(folder))
    except (OmegaConfBaseException, TypeError) as error:
        raise ConfigError(f"hydra.{key}: {first_line(error)}") from error


def command_line(overrides: Iterable[str], tree: Tree) -> str:
    """The command line that composes the same configuration again, from the same working directory."""
    flags = [] if tree.root == ROOT else ["--config-name", tree.root]
    given = [str(path) for path in tree.own if path != Path("conf").resolve()]
    return shlex.join(["digitnet", *(word for path in given for word in ("--config-dir", path)), *flags, *overrides])


def _without_hydra(composed: DictConfig) -> DictConfig:
    """A composition without Hydra's own node."""
    return OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])  # type: ignore[misc]
