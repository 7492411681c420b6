"""From the command line and YAML to a checked configuration. The only room that knows Hydra."""

import contextlib
import os
import re
import secrets
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from digitnet import checks
from digitnet.errors import ConfigError, DigitnetError, Fault, did_you_mean
from digitnet.schema import GROUPS, Config
from digitnet.sources import CONF_PACKAGE, ROOT, Source, Tree, no_option, not_yaml

NO_SEARCHPATH = "hydra.searchpath: digitnet looks in ./conf and in --config-dir FOLDER only"
NO_CALLS = "a config makes digitnet neither import nor call anything; leave it out"
TAKEN = "holds a run already, and runs never share a folder; choose another"

# Cached by the config, so that every look at the run's folder gives the same.
OmegaConf.register_new_resolver("short_id", lambda: secrets.token_hex(3), use_cache=True, replace=True)


@dataclass(frozen=True)
class Plan:
    """A configuration that passed the checks, ready to be run."""

    config: Config
    run_dir: Path
    command: str
    _composed: DictConfig

    def write(self) -> None:
        """Write down how the configuration came about, as Hydra does: `.hydra/` in the run's folder.

        Raises ConfigError if another run has done so, DigitnetError if it cannot be written.
        """
        folder = self.run_dir / ".hydra"
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            if folder.is_dir():
                raise ConfigError(f"{self.run_dir}: {TAKEN}") from error
            raise _no_folder(error, "run") from error
        except OSError as error:
            raise _no_folder(error, "run") from error
        task = OmegaConf.masked_copy(self._composed, _task_keys(self._composed))
        OmegaConf.save(task, folder / "config.yaml")
        hydra_node = OmegaConf.masked_copy(self._composed, "hydra")
        OmegaConf.set_readonly(hydra_node.hydra, False)
        hydra_node.hydra.runtime.output_dir = str(self.run_dir.absolute())
        OmegaConf.save(hydra_node, folder / "hydra.yaml")
        OmegaConf.save(self._composed.hydra.overrides.task, folder / "overrides.yaml")


def plan(overrides: Sequence[str], tree: Tree) -> Plan:
    """Compose and check what `overrides` ask for. Raises ConfigError with all that is wrong with it."""
    with _loading(tree):
        composed = _compose(overrides, tree)
        config = _check(composed, tree, overrides)
        assert config is not None
        if composed.hydra.mode == RunMode.MULTIRUN:
            raise ConfigError("hydra.mode=MULTIRUN: a sweep is started with -m")
        run_dir = _folder(composed, "run.dir")
        if any((run_dir / name).exists() for name in ("summary.json", ".hydra")):
            raise ConfigError(f"{run_dir}: {TAKEN}")
        return Plan(config, run_dir, _command(overrides, tree), composed)


def load(overrides: Sequence[str], config_dir: str | Path | None = None) -> Config:
    """The configuration that `overrides` ask for. Raises ConfigError with all that is wrong with it."""
    return plan(overrides, Tree.at(config_dir)).config


def try_out(overrides: Sequence[str], tree: Tree) -> Config | None:
    """Compose and check, where values may be missing (`???`) that only a user can give; then there is no Config.

    Raises ConfigError with all else that is wrong.
    """
    with _loading(tree):
        return _check(_compose(overrides, tree), tree, overrides, incomplete=True)


def values(overrides: Sequence[str], tree: Tree) -> dict[str, Any]:
    """The composed configuration, unresolved and unchecked: what keys there are. Raises ConfigError."""
    with _loading(tree):
        composed = _compose(overrides, tree)
        content = OmegaConf.to_container(OmegaConf.masked_copy(composed, _task_keys(composed)))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def sweep(
    overrides: Sequence[str],
    tree: Tree,
    task: Callable[[Config, Path, str], None],
    failed: Callable[[ConfigError], None],
) -> None:
    """Let Hydra run `task` for every combination of the values that `overrides` list.

    `task` gets the checked configuration, the job's folder and the command that makes the run again; `failed` what is
    wrong with the values of a job. Raises ConfigError, before a folder is made, if keys or options are wrong.
    """
    with _loading(tree):
        for choices in _choices(overrides, tree):
            composed = _compose(choices, tree)
    if any((sweep_dir := _folder(composed, "sweep.dir")).glob("**/summary.json")):
        raise ConfigError(f"{sweep_dir}: {TAKEN}")

    def job(composed: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        typed = hydra_config.overrides.task
        try:
            config = _check(composed, tree, typed)
            assert config is not None
        except ConfigError as error:
            failed(error)
        else:
            task(config, Path(hydra_config.runtime.output_dir), _command(typed, tree))

    _hydra(["--multirun"], overrides, tree, job)


def show(overrides: Sequence[str], tree: Tree, flags: Sequence[str]) -> None:
    """Let Hydra show what its `flags` ask for; raises ConfigError afterwards if values are wrong."""
    with _loading(tree):
        composed = _compose(overrides, tree)
        known = list(checks.keys(OmegaConf.to_container(composed)))
    if "--package" in flags and (package := flags[flags.index("--package") + 1]) not in [*known, "_global_"]:
        raise ConfigError(checks.no_key(package, [key for key in known if not key.startswith("hydra.")]))
    _hydra(flags, overrides, tree, lambda composed: None)
    if "--cfg" in flags:
        try_out(overrides, tree)


def _hydra(flags: Sequence[str], overrides: Sequence[str], tree: Tree, job: Callable[[DictConfig], None]) -> None:
    """Hydra's own command line."""
    program, sys.argv = sys.argv, ["digitnet", *flags, *overrides]
    # Hydra would print errors in a form of its own, and exit.
    wanted, os.environ["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR"), "1"
    try:
        with _searching(tree):
            hydra.main(version_base="1.3", config_path=f"pkg://{CONF_PACKAGE}", config_name=tree.root)(job)()
    except DigitnetError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise _no_folder(error, "sweep") from error
        raise _explain(error, overrides, tree) from error
    finally:
        sys.argv = program
        del os.environ["HYDRA_FULL_ERROR"]
        if wanted is not None:
            os.environ["HYDRA_FULL_ERROR"] = wanted


# Composing


_searched: list[Path] = []  # by whatever Hydra is doing now


class _ConfigDirectories(SearchPathPlugin):
    """The user's config directories before the packaged one; Hydra's own --config-dir comes after it."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for directory in _searched:
            search_path.prepend("digitnet", f"file://{directory}", SearchPathQuery(provider="main"))


Plugins.instance().register(_ConfigDirectories)


@contextlib.contextmanager
def _searching(tree: Tree) -> Iterator[None]:
    """Whatever Hydra does in this block, it does over the directories of `tree`."""
    before = list(_searched)
    _searched[:] = tree.own
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In '.*': Defaults list is missing `_self_`")  # then it is the last entry
            yield
    finally:
        _searched[:] = before


@contextlib.contextmanager
def _loading(tree: Tree) -> Iterator[None]:
    """In this block, Hydra composes outside an application of its own, be it within one."""
    state = GlobalHydra.instance()
    running = state.hydra
    state.clear()
    try:
        with _searching(tree), initialize_config_module(CONF_PACKAGE, version_base="1.3"):
            yield
    finally:
        state.hydra = running


def _compose(overrides: Sequence[str], tree: Tree) -> DictConfig:
    """Compose, Hydra's own node included. Raises ConfigError."""
    for override in overrides:
        _check_form(override)
    if {"schedule.epochs", "trainer.epochs"} <= {override.lstrip("+").partition("=")[0] for override in overrides}:
        raise ConfigError("schedule.epochs and trainer.epochs are both the run's length; leave one out")
    if faults := tree.faults(_chosen(overrides, tree)):
        raise ConfigError(faults)
    root = tree.read(tree.root)  # Hydra would import, while composing, the packages that its search path names
    try:
        plain = OmegaConf.load(root.path)
        if OmegaConf.select(plain, "hydra.searchpath", throw_on_resolution_failure=False) is not None:
            raise ConfigError(Fault(NO_SEARCHPATH, file=root.path, line=root.line_of(("hydra", "searchpath"))))
        composed = compose(tree.root, overrides=list(overrides), return_hydra_config=True)
    except ConfigError:
        raise
    except Exception as error:
        raise _explain(error, overrides, tree) from error
    try:
        _harmless(composed.hydra)
    except ConfigError as error:
        raise _located(error, tree, overrides) from None
    return composed


def _check_form(override: str) -> None:
    """Raise ConfigError for what Hydra would take, or would answer in words that help nobody."""
    if not isinstance(override, str):
        raise ConfigError(f"{override!r}: is not a string of the form KEY=VALUE")
    if not override.isprintable():
        raise ConfigError(f"{override!a}: holds a character that cannot be printed; leave it out")
    key, equals, value = override.lstrip("+~").partition("=")
    if not equals and not override.startswith("~"):
        raise ConfigError(f"'{override}' is neither a command nor of the form KEY=VALUE; see digitnet --help")
    if equals and not key:
        raise ConfigError(f"'{override}' has no key; it is KEY=VALUE")
    if found := re.fullmatch(r"(\w+)\.name", key):
        raise ConfigError(f"{override}: the option is chosen with {found[1]}={value}")
    if key in GROUPS and (value[:1] in ("[", "{") or ".." in value or value.endswith(".yaml")):
        raise ConfigError(f"{override}: not the name of an option; see digitnet --help")
    if key.startswith("hydra.searchpath"):
        raise ConfigError(NO_SEARCHPATH)


def _harmless(node: DictConfig) -> None:
    """Raise ConfigError if Hydra would import or call what its node names: only `model=custom` may have that done.

    Or if it has a key that Hydra does not know, which `++` would add, or one that would do nothing here. What is
    looked at is not resolved: an interpolation could be one thing here and another when Hydra uses it.
    """
    if unknown := sorted(_unknown(node, "hydra")):
        raise ConfigError([Fault(f"no key '{key}'{did_you_mean(key, known)}", key) for key, known in unknown])
    content = OmegaConf.to_container(node)
    assert isinstance(content, dict)
    for key in ("job_logging", "hydra_logging"):
        own = [OmegaConf.load(str(path)) for path in files("hydra.conf").joinpath("hydra", key).iterdir()]
        if content[key] not in [OmegaConf.to_container(options) for options in own]:
            raise ConfigError(Fault(f"hydra.{key}: only Hydra's own options of it may be chosen", f"hydra.{key}"))
    job = content["job"]
    # job.env_set could name another folder for the programs that a run calls, and env_copy is another way to it.
    callers = {"callbacks": content["callbacks"], "job.env_copy": job["env_copy"], "job.env_set": job["env_set"]}
    for key in [key for key, found in callers.items() if found][:1]:
        raise ConfigError(Fault(f"hydra.{key}: {NO_CALLS}", f"hydra.{key}"))
    if job["chdir"]:
        message = "hydra.job.chdir: digitnet stays in the working directory, which paths start from; leave it out"
        raise ConfigError(Fault(message, "hydra.job.chdir"))
    if content["output_subdir"] != ".hydra":
        raise ConfigError(Fault("hydra.output_subdir: is always .hydra; leave it out", "hydra.output_subdir"))
    for key in ("launcher", "sweeper"):
        plugin = content[key]
        target = plugin.pop("_target_", None) if isinstance(plugin, dict) else plugin
        if not Plugins.is_in_toplevel_plugins_module(str(target)):
            message = f"hydra.{key}._target_={target}: no {key} of Hydra's; choose one with hydra/{key}=OPTION"
            raise ConfigError(Fault(message, f"hydra.{key}._target_"))
        for name, value in checks.items(plugin):  # which Hydra instantiates, to any depth
            whole = isinstance(value, str) and re.fullmatch(r"\$\{(?!hydra\.|now:|oc\.env:)[^}]*\}.*", value)
            if whole or name.rpartition(".")[2] == "_target_":
                raise ConfigError(Fault(f"hydra.{key}.{name}: {NO_CALLS}", f"hydra.{key}.{name}"))


def _unknown(node: Any, prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys of typed nodes that their types lack, each with the keys that there are."""
    kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    if kind is None or not is_dataclass(kind):
        return
    known = tuple(f"{prefix}.{field.name}" for field in fields(kind))
    for key in node:
        if f"{prefix}.{key}" not in (*known, "hydra.env"):  # which Hydra's own defaults bring, and its type lacks
            yield f"{prefix}.{key}", known
        elif not OmegaConf.is_interpolation(node, str(key)) and not OmegaConf.is_missing(node, str(key)):
            yield from _unknown(node[key], f"{prefix}.{key}")


def _choices(overrides: Sequence[str], tree: Tree) -> list[list[str]]:
    """The overrides of a sweep: every combination of options, and of all else the first value."""
    lists: list[list[str]] = []
    try:
        loader = GlobalHydra.instance().config_loader()
        for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
            if not override.is_sweep_override():
                lists.append([str(override.input_line)])
                continue
            key = override.get_key_element()
            words = [f"{key}={value}" for value in override.sweep_string_iterator()]
            lists.append(words if key in GROUPS or "/" in key else words[:1])
    except Exception as error:
        raise _explain(error, overrides, tree) from error
    return [list(words) for words in product(*lists)]


def _folder(composed: DictConfig, key: str) -> Path:
    try:
        folder = OmegaConf.select(composed.hydra, key, throw_on_missing=True)
        if not folder:
            raise ConfigError(f"hydra.{key}: is empty; give a folder")
        return Path(folder)
    except (OmegaConfBaseException, TypeError) as error:
        raise ConfigError(f"hydra.{key}: {_first_line(error)}") from error


def _no_folder(error: OSError, kind: str) -> DigitnetError:
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or error
    return DigitnetError(f"cannot make the run's folder ({where}{reason}); set hydra.{kind}.dir=FOLDER to another")


def _command(overrides: Iterable[str], tree: Tree) -> str:
    """The command line that composes the same again, from the same working directory."""
    flags = [] if tree.root == ROOT else ["--config-name", tree.root]
    given = [str(path) for path in tree.own if path != Path("conf").resolve()]
    return shlex.join(["digitnet", *(word for path in given for word in ("--config-dir", path)), *flags, *overrides])


def _task_keys(composed: DictConfig) -> list[Any]:
    return [key for key in composed if key != "hydra"]


# Checking


def _check(composed: DictConfig, tree: Tree, overrides: Sequence[str], incomplete: bool = False) -> Config | None:
    """Resolve the configuration and hold it against the schema; faults say where in the YAML they stand.

    An `incomplete` one may lack values, and is None then.
    """
    task = OmegaConf.masked_copy(composed, _task_keys(composed))
    lacking: list[str] = []
    with contextlib.suppress(OmegaConfBaseException):  # an interpolation to nothing, which resolving reports
        lacking = sorted(OmegaConf.missing_keys(task))
    try:
        if lacking and not incomplete:
            raise ConfigError([Fault(f"{key}: has no value; set {key}=VALUE", key) for key in lacking])
        config = checks.check(_resolve(task, composed))
        if config.model.name == "custom":
            chosen = (composed.hydra if "hydra" in composed else HydraConfig.get()).runtime.choices
            _asked_for(config.model.target, str(chosen.get("model")), tree, overrides)
    except ConfigError as error:
        faults = [fault for fault in error.faults if not (incomplete and fault.key in lacking)]
        if faults:
            raise _located(ConfigError(faults), tree, overrides) from error
        return None
    return None if lacking else config


def _asked_for(target: str, option: str, tree: Tree, overrides: Sequence[str]) -> None:
    """Raise ConfigError if a network is to be imported that nobody asked for by the name of an option."""
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    packaged = tree.directories[-1] / "model" / f"{option}.yaml"
    if option != "custom" and packaged.exists():
        message = f"model.target={target}: a network of your own under the name of a packaged one; name it otherwise"
    elif tree.root == ROOT and not typed & {"model", "experiment"}:
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
        key, reason = str(error.full_key), _first_line(error)
        if found := re.match("Interpolation key '([^']+)' not found", reason):
            reason = checks.no_key(found[1], checks.keys(OmegaConf.to_container(task)))
        reason = re.sub(r'^\w+ raised while resolving interpolation: "?(.*?)"?$', r"\1", reason)
        raise ConfigError(Fault(f"{key}: {reason}", key)) from error
    finally:
        HydraConfig.instance().cfg = known
    assert isinstance(content, dict)
    return content


def locate(faults: Iterable[Fault], overrides: Sequence[str], tree: Tree) -> list[Fault]:
    """The faults with the file and line that their keys come from, where that is not the command line."""
    with _loading(tree):
        return _located(ConfigError(faults), tree, overrides).faults


def _located(error: ConfigError, tree: Tree, overrides: Sequence[str]) -> ConfigError:
    places = _Places(tree, overrides)
    return ConfigError([places.of(fault) for fault in error.faults])


class _Places:
    """Where the values of a composed configuration stand in the YAML."""

    def __init__(self, tree: Tree, overrides: Sequence[str]) -> None:
        typed = [override.lstrip("+~").partition("=")[0] for override in overrides]
        self._typed = [key for key in typed if "." in key or ("/" not in key and not tree.options(key))]
        self._own = tree.own
        loader = GlobalHydra.instance().config_loader()
        assert loader is not None
        # The last one has the last word.
        found = reversed(loader.compute_defaults_list(tree.root, list(overrides), RunMode.RUN).defaults)
        self._files: list[tuple[list[str], Source]] = [
            ([part for part in (default.package or "").split(".") if part], tree.read(default.config_path))
            for default in found
            if default.config_path and tree.find(default.config_path)
        ]

    def of(self, fault: Fault) -> Fault:
        """The fault with file and line, unless it was typed on the command line."""
        keys = [fault.key, *fault.also]
        if any(
            f"{a}.".startswith(f"{b}.")
            for key in keys
            for typed in self._typed
            for a, b in ((key, typed), (typed, key))
        ):
            return fault
        places = [place for key in keys if (place := self._find(key.split(".")))]
        if not places:
            return fault
        path, line = next((place for place in places if self._is_own(place[0])), places[0])
        return replace(fault, file=path, line=line)

    def _is_own(self, path: Path) -> bool:
        return any(path.is_relative_to(directory) for directory in self._own)

    def _find(self, keys: list[str]) -> tuple[Path, int] | None:
        while keys:  # what is missing stands nowhere, but what it is missing from does
            for package, source in self._files:
                if keys[: len(package)] == package and (line := source.line_of(keys[len(package) :])):
                    return source.path, line
            keys = keys[:-1]
        return None


# Explaining


def _explain(error: Exception, overrides: Sequence[str], tree: Tree) -> ConfigError:
    """Hydra's complaint in digitnet's form. What is wrong with the files by themselves has been answered before."""
    text = str(error) or str(error.__cause__)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return ConfigError(not_yaml(error, Path(error.problem_mark.name)))
    if text.startswith("Error merging override") and error.__cause__:
        return ConfigError(f"{text.partition('override ')[2]}: {_first_line(error.__cause__)}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        typed = [o.lstrip("+") for o in overrides if o.lstrip("+").replace("=", "/", 1) == error.missing_cfg_file]
        group, _, option = typed[0].partition("=") if typed else error.missing_cfg_file.rpartition("/")
        for path in (directory / group / f"{option}.yml" for directory in tree.own):
            if path.is_file():
                return ConfigError(Fault(f"{group}={option}: its file is not looked at; the ending is .yaml", "", path))
        return ConfigError(no_option(group, option, error.options))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return ConfigError(f"no such group: {_first_line(error)}")
    if (found := re.search(r"Could not override '([^']+)'", text)) and found[1] in GROUPS:
        if any(override == f"{found[1]}={option}" for override in overrides for option in tree.options(found[1])):
            return ConfigError(f"the root's defaults have no '{found[1]}'; write +{found[1]}=OPTION, or add it there")
        wrong = next((override for override in overrides if override.lstrip("+").startswith(f"{found[1]}=")), found[1])
        return ConfigError(f"{wrong}: not the name of an option; see digitnet --help")
    if found:
        return ConfigError(_no_key(found[1], overrides, tree))
    if "Config group override must be" in text:
        names = [o for o in overrides if o.partition("=")[0] in Config.model_fields]
        wrong = next((o for o in names if re.search(r"=(null|true|false|[^A-Za-z_].*)$", o)), " ".join(overrides))
        return ConfigError(f"{wrong}: not the name of an option; see digitnet --help")
    if found := re.search(r"Could not delete from config. '([^']+)'", text):
        message = _no_key(found[1], overrides, tree)
        return ConfigError(message.replace(f"'{found[1]}'", f"'{found[1]}' to delete", 1))
    if "Ambiguous value for argument" in text:
        override = text.partition("argument '")[2].partition("'\n")[0]
        return ConfigError(f"{override}: several values; to run them all, add -m; for a list, use [a,b]")
    if found := re.match("Sweep parameters '(.*)' requires --multirun", text):
        return ConfigError(f"{found[1]}: several values; to run them all, add -m")
    if found := re.search(r"Multiple values for (\S+)\. ", text):
        return ConfigError(f"{found[1]} is chosen already; leave out the '+': {found[1]}=OPTION")
    if "See https://hydra.cc" in text:
        reason = _first_line(error)
        # The whole override is in the text, or only what could be read of its value.
        named = [o for o in overrides if o in text] or [o for o in overrides if o.partition("=")[2] in text]
        wrong = max(named or overrides, key=len)
        key, _, value = wrong.partition("=")
        if any(value.count(a) != value.count(b) for a, b in ("[]", "{}", "()")):
            return ConfigError(f"{wrong}: cannot be read; a bracket is not closed")
        why = "" if "Exception" in reason or "Error parsing" in reason else f" ({reason})"
        if not value or not re.fullmatch(r"[+~]*[\w./@]+", key):
            return ConfigError(f"{wrong}: cannot be read{why}; it is KEY=VALUE or GROUP=OPTION")
        return ConfigError(f"{wrong}: cannot be read{why};\nquote what is more than a word: '{key}=\"{value}\"'")
    if found := re.search(r"^(?:In '([^']+)': )?.*? raised while composing config:\n(.*)\n\s+full_key: (\S+)", text):
        return ConfigError(_in_file(f"{found[3]}: {found[2]}", found[1], tree, found[3]))
    if found := re.match(r"In '([^']+)': Overriding hydra.searchpath", text):
        return ConfigError(_in_file(NO_SEARCHPATH, found[1], tree, "hydra.searchpath"))
    if found := re.match(r"In '([^']+)': (.*)", text):
        return ConfigError(_in_file(found[2], found[1], tree, "defaults"))
    if found := re.search(r"\n\s+full_key: (\S+)", text):
        return ConfigError(f"{found[1]}: {_first_line(error)}")
    reason = _first_line(error).partition(" : Override(")[0]
    typed = [] if any(override in reason for override in overrides) else [" ".join(overrides)][: len(overrides)]
    return ConfigError(": ".join([*typed, reason]))


def _in_file(message: str, name: str, tree: Tree, key: str) -> Fault:
    """A fault in the file of that name, if there is one, and in the line of the key."""
    if tree.find(name) is None:
        return Fault(message, key)
    source = tree.read(name)
    return Fault(message, key, source.path, source.line_of(key.split(".")))


def _chosen(overrides: Iterable[str], tree: Tree) -> list[str]:
    """The names of the files that the root and the overrides choose."""
    pairs = [override.lstrip("+").partition("=") for override in overrides]
    return [tree.root, *(f"{key.partition('@')[0]}/{value}" for key, _, value in pairs if "." not in key)]


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or str(error.__cause__ or type(error).__name__).strip()
    return text.partition("\n")[0].strip()


def _no_key(name: str, overrides: Iterable[str], tree: Tree) -> str:
    """The message about an unknown key, with those of the configuration that the choices among `overrides` make."""
    chosen = [override for override in overrides if re.fullmatch(r"[a-z_/]+=[\w-]+", override)]
    for choice in (chosen, []):
        with contextlib.suppress(Exception), _loading(tree):
            content = compose(tree.root, overrides=choice, return_hydra_config=name.startswith("hydra."))
            known = checks.keys(OmegaConf.to_container(content))
            return checks.no_key(name, ["experiment", *known])  # whose options leave no key of their own
    return checks.no_key(name, [])
