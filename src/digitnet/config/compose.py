"""From the command line and YAML to a checked configuration. The only room that knows Hydra."""

import contextlib
import copy
import os
import re
import secrets
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digitnet.config import check
from digitnet.config.explain import chosen_files, explain, first_line
from digitnet.config.files import CONF_PACKAGE, ROOT, Tree
from digitnet.config.guard import check_form, check_harmless, check_root
from digitnet.config.hydra_adapter import loading, searching
from digitnet.config.provenance import located
from digitnet.config.schema import GROUPS, PRESETS, SECTIONS, Config, is_changeable
from digitnet.errors import TAKEN, ConfigError, DigitnetError, Fault, reason
from digitnet.lock import locked
from digitnet.training.distributed import current_group

# Cached by the config, so that every look at the run's folder gives the same.
OmegaConf.register_new_resolver("short_id", lambda: secrets.token_hex(4), use_cache=True, replace=True)


@dataclass(frozen=True)
class Composition:
    """A configuration that passed the checks, ready to be run."""

    config: Config
    run_dir: Path
    command: str
    _composed: DictConfig

    @contextlib.contextmanager
    def claimed(self) -> Iterator[Callable[[], None]]:
        """Have the run's folder for this block, with `.hydra/` in it as Hydra writes it; yields as `lock.locked` does.

        Of torchrun's processes the first has it for all. Raises a DigitnetError if another run has it, or it cannot be
        written.
        """
        if current_group().rank > 0:
            yield lambda: None
            return
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_folder(error, "run") from error
        with locked(self.run_dir) as check:
            if (self.run_dir / "summary.json").exists():
                raise ConfigError(f"{self.run_dir}: {TAKEN}")
            try:
                _write_down(self._composed, self.run_dir)
            except OSError as error:
                raise _no_folder(error, "run") from error
            yield check


def _write_down(composed: DictConfig, run_dir: Path) -> None:
    """`.hydra/` of a run, as Hydra writes it. Raises OSError."""
    folder = run_dir / ".hydra"
    folder.mkdir(exist_ok=True)
    OmegaConf.save(_task(composed), folder / "config.yaml")
    hydra_node = OmegaConf.masked_copy(composed, "hydra")
    OmegaConf.set_readonly(hydra_node.hydra, False)
    hydra_node.hydra.runtime.output_dir = str(run_dir.absolute())
    OmegaConf.save(hydra_node, folder / "hydra.yaml")
    OmegaConf.save(composed.hydra.overrides.task, folder / "overrides.yaml")


def compose_run(overrides: Sequence[str], tree: Tree) -> Composition:
    """Compose and check what `overrides` ask for. Raises ConfigError with all that is wrong with it."""
    with loading(tree):
        composed = _compose(overrides, tree)
        config = _check(composed, tree, overrides)
        assert config is not None
        if composed.hydra.mode == RunMode.MULTIRUN or composed.hydra.sweeper.params:
            what = "hydra.sweeper.params" if composed.hydra.sweeper.params else "hydra.mode=MULTIRUN"
            raise ConfigError(f"{what}: a sweep is started with -m")
        return Composition(config, _folder(composed, "run.dir"), _command(overrides, tree), composed)


def load_config(overrides: Sequence[str], config_dir: str | Path | None = None) -> Config:
    """The configuration that `overrides` ask for. Raises ConfigError with all that is wrong with it."""
    return compose_run(overrides, Tree.at(config_dir)).config


def with_changes(content: dict[str, Any], overrides: Sequence[str], run: str) -> Config:
    """The configuration of a run, as its summary.json has it, with what may change when it is gone on with.

    `run` names it in messages. Raises ConfigError where the configuration is none, or an override is of a key that
    makes a run what it is.
    """
    try:
        check.check(content)
    except ConfigError as error:
        raise ConfigError(f"{run}/summary.json: {error}") from error
    content = copy.deepcopy(content)
    for override in overrides:
        if not re.match(r"[\w.]+=", override):
            raise ConfigError(f"'{override}': is not KEY=VALUE; see digitnet resume --help")
        key, _, _ = override.partition("=")
        if key in SECTIONS:
            raise ConfigError(f"{override}: has no options; set one of {', '.join(f'{key}.{k}' for k in content[key])}")
        if not is_changeable(key):
            known = list(check.keys(content))
            if key not in known:
                raise ConfigError(check.no_key(key, known))
            raise ConfigError(
                f"{override}: cannot be changed in a run that has begun; what can: digitnet resume --help;\n"
                "a new run can start from its weights: init_from=RUN_DIR"
            )
        if key in GROUPS:
            content[key] = composed_values([override], Tree.packaged())[key]
            continue
        try:
            (parsed,) = OverridesParser.create().parse_overrides([override])
            value = parsed.value()
        except Exception as error:
            raise ConfigError(f"{override}: cannot be read ({first_line(error)})") from error
        if parsed.is_sweep_override():
            raise ConfigError(f"{override}: one value, not several")
        group, _, leaf = key.rpartition(".")
        if leaf not in content.get(group, {}):
            raise ConfigError(check.no_key(key, check.keys(content)))
        content[group][leaf] = value
    return check.check(content)


def compose_incomplete(overrides: Sequence[str], tree: Tree) -> Config | None:
    """Compose and check, where values may be missing (`???`) that only a user can give; then there is no Config.

    Raises ConfigError with all else that is wrong.
    """
    with loading(tree):
        return _check(_compose(overrides, tree), tree, overrides, incomplete=True)


def composed_values(overrides: Sequence[str], tree: Tree) -> dict[str, Any]:
    """The composed configuration, unresolved and unchecked: what keys there are. Raises ConfigError."""
    with loading(tree):
        composed = _compose(overrides, tree)
        content = OmegaConf.to_container(_task(composed))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def show_config(overrides: Sequence[str], tree: Tree, flags: Sequence[str]) -> None:
    """Let Hydra show what its `flags` ask for; raises ConfigError afterwards if values are wrong."""
    with loading(tree):
        composed = _compose(overrides, tree)
        known = list(check.keys(OmegaConf.to_container(composed)))
    if "--package" in flags and (package := flags[flags.index("--package") + 1]) not in [*known, "_global_"]:
        raise ConfigError(check.no_key(package, [key for key in known if not key.startswith("hydra.")]))
    _hydra(flags, overrides, tree, lambda composed: None)
    if "--cfg" in flags:
        compose_incomplete(overrides, tree)


def _hydra(flags: Sequence[str], overrides: Sequence[str], tree: Tree, job: Callable[[DictConfig], None]) -> None:
    """Hydra's own command line."""
    program, sys.argv = sys.argv, ["digitnet", *flags, *overrides]
    # Hydra would print errors in a form of its own, and exit.
    wanted, os.environ["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR"), "1"
    try:
        with searching(tree):
            hydra.main(version_base="1.3", config_path=f"pkg://{CONF_PACKAGE}", config_name=tree.root)(job)()
    except DigitnetError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise _no_folder(error, "sweep") from error
        raise explain(error, overrides, tree) from error
    finally:
        sys.argv = program
        del os.environ["HYDRA_FULL_ERROR"]
        if wanted is not None:
            os.environ["HYDRA_FULL_ERROR"] = wanted


def _compose(overrides: Sequence[str], tree: Tree) -> DictConfig:
    """Compose, Hydra's own node included. Raises ConfigError."""
    for override in overrides:
        check_form(override)
    if {"schedule.epochs", "trainer.epochs"} <= {override.lstrip("+").partition("=")[0] for override in overrides}:
        raise ConfigError("schedule.epochs and trainer.epochs are both the run's length; leave one out")
    if faults := tree.faults(chosen_files(overrides, tree)):
        raise ConfigError(faults)
    try:
        check_root(tree.read(tree.root))
        composed = compose(tree.root, overrides=list(overrides), return_hydra_config=True)
    except ConfigError:
        raise
    except Exception as error:
        raise explain(error, overrides, tree) from error
    try:
        check_harmless(composed.hydra)
    except ConfigError as error:
        raise located(error, tree, overrides) from None
    return composed


def _check(composed: DictConfig, tree: Tree, overrides: Sequence[str], incomplete: bool = False) -> Config | None:
    """Resolve the configuration and hold it against the schema; faults say where in the YAML they stand.

    An `incomplete` one may lack values, and is None then.
    """
    task = _task(composed)
    lacking: list[str] = []
    with contextlib.suppress(OmegaConfBaseException):  # an interpolation to nothing, which resolving reports
        lacking = sorted(OmegaConf.missing_keys(task))
    try:
        if lacking and not incomplete:
            raise ConfigError([Fault(f"{key}: has no value; set {key}=VALUE", key) for key in lacking])
        config = check.check(_resolve(task, composed))
        if config.model.name == "custom":
            chosen = (composed.hydra if "hydra" in composed else HydraConfig.get()).runtime.choices
            _asked_for(config.model.target, str(chosen.get("model")), tree, overrides)
    except ConfigError as error:
        faults = [fault for fault in error.faults if not (incomplete and fault.key in lacking)]
        if faults:
            raise located(ConfigError(faults), tree, overrides) from error
        return None
    return None if lacking else config


def _asked_for(target: str, option: str, tree: Tree, overrides: Sequence[str]) -> None:
    """Raise ConfigError if a network is to be imported that nobody asked for by the name of an option."""
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    packaged = tree.directories[-1] / "model" / f"{option}.yaml"
    if option != "custom" and packaged.exists():
        message = f"model.target={target}: a network of your own under the name of a packaged one; name it otherwise"
    elif tree.root == ROOT and not typed & {"model", *PRESETS}:
        message = f"model.target={target}: a network is imported if you ask for it by name; add model={option}"
    else:
        return
    raise ConfigError(Fault(message, "model.target"))


def _resolve(task: DictConfig, composed: DictConfig) -> dict[Any, Any]:
    """Plain values, interpolations done."""
    known = HydraConfig.instance().cfg
    if "hydra" in composed:  # not in a job, where Hydra has done this
        HydraConfig.instance().set_config(composed)
    try:
        content = OmegaConf.to_container(task, resolve=True)
    except OmegaConfBaseException as error:
        key, text = str(error.full_key), first_line(error)
        if found := re.match("Interpolation key '([^']+)' not found", text):
            text = check.no_key(found[1], check.keys(OmegaConf.to_container(task)))
        text = re.sub(r'^\w+ raised while resolving interpolation: "?(.*?)"?$', r"\1", text)
        raise ConfigError(Fault(f"{key}: {text}", key)) from error
    finally:
        HydraConfig.instance().cfg = known
    assert isinstance(content, dict)
    return content


def locate_faults(faults: Iterable[Fault], overrides: Sequence[str], tree: Tree) -> list[Fault]:
    """The faults with the file and line that their keys come from, where that is not the command line."""
    with loading(tree):
        return located(ConfigError(faults), tree, overrides).faults


def _folder(composed: DictConfig, key: str) -> Path:
    try:
        folder = OmegaConf.select(composed.hydra, key, throw_on_missing=True)
        if not folder:
            raise ConfigError(f"hydra.{key}: is empty; give a folder")
        return Path(folder)
    except (OmegaConfBaseException, TypeError) as error:
        raise ConfigError(f"hydra.{key}: {first_line(error)}") from error


def _no_folder(error: OSError, kind: str) -> DigitnetError:
    return DigitnetError(f"cannot make the run's folder ({reason(error)}); set hydra.{kind}.dir=FOLDER to another")


def _command(overrides: Iterable[str], tree: Tree) -> str:
    """The command line that composes the same again, from the same working directory."""
    flags = [] if tree.root == ROOT else ["--config-name", tree.root]
    given = [str(path) for path in tree.own if path != Path("conf").resolve()]
    return shlex.join(["digitnet", *(word for path in given for word in ("--config-dir", path)), *flags, *overrides])


def _task(composed: DictConfig) -> DictConfig:
    """What is digitnet's of a composition."""
    return OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])  # type: ignore[misc]
