"""From the command line to a checked configuration. The only room that knows Hydra."""

import contextlib
import difflib
import os
import re
import secrets
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_module
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from digitnet.errors import ConfigError
from digitnet.schema import Config, group_keys

CONF_PACKAGE = "digitnet.conf"
SHOWN_FAULTS = 3  # of a configuration, and "… more": a message has at most four lines

# Cached by the config, so that every look at the run's folder gives the same.
OmegaConf.register_new_resolver("short_id", lambda: secrets.token_hex(3), use_cache=True, replace=True)


def load(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """Compose conf/ (and `config_dir`, searched after it) with `overrides` and check the result.

    Raises ConfigError for whatever is wrong with it.
    """
    try:
        config = _compose(overrides, config_dir)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise _explain(error, overrides, config_dir) from error
    return check(config)


def launch(arguments: Sequence[str], task: Callable[[DictConfig, Path, str], None]) -> None:
    """Do what the command line says: run `task` once, or a sweep of it, or show help or the configuration.

    `task` gets the composed configuration, the run's folder and the command that makes the run again. Raises
    ConfigError for what is wrong with the command line; for a plain run, before its folder is made.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # argparse would print its own form and exit
    options = parser.parse_args(list(arguments))
    for override in options.overrides:
        if "=" not in override and not override.startswith("~"):
            raise ConfigError(f"'{override}' is neither a command nor of the form KEY=VALUE; see digitnet --help")
        if override.startswith("="):
            raise ConfigError(f"'{override}' has no key; it is KEY=VALUE")
        if found := re.match(r"(\w+)\.name=(.*)", override):
            raise ConfigError(f"{override}: the option is chosen with {found[1]}={found[2]}")
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        raise ConfigError(f"--config-dir {options.config_dir}: no such folder")
    shows = options.cfg or options.info or options.help or options.hydra_help or options.shell_completion
    if not (options.multirun or shows):
        load(options.overrides, options.config_dir)
    for override in options.overrides:  # Hydra would write over what is in an explicit folder
        key, _, folder = override.partition("=")
        if key in ("hydra.run.dir", "hydra.sweep.dir") and any(Path(folder).glob("**/summary.json")):
            raise ConfigError(f"{folder}: holds a run already, and runs never share a folder; choose another")

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        command = shlex.join(["digitnet", *hydra_config.overrides.task])
        task(config, Path(hydra_config.runtime.output_dir), command)

    program, sys.argv = sys.argv, ["digitnet", *arguments]
    # Hydra would print errors in a form of its own, and exit.
    wanted, os.environ["HYDRA_FULL_ERROR"] = os.environ.get("HYDRA_FULL_ERROR"), "1"
    try:
        hydra.main(version_base="1.3", config_path=f"pkg://{CONF_PACKAGE}", config_name="config")(job)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise _explain(error, options.overrides, options.config_dir) from error
    finally:
        sys.argv = program
        del os.environ["HYDRA_FULL_ERROR"]
        if wanted is not None:
            os.environ["HYDRA_FULL_ERROR"] = wanted


def check(config: DictConfig) -> Config:
    """Resolve `config` and hold it against the schema. Raises ConfigError with the first faults."""
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: has no value; set {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {_first_line(error)}") from error
    assert isinstance(content, dict)
    content.pop("hydra", None)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        faults = _faults(error, content)
        if len(faults) > SHOWN_FAULTS:
            faults[SHOWN_FAULTS:] = [f"and {len(faults) - SHOWN_FAULTS} more"]
        raise ConfigError("\n".join(faults)) from None


def _compose(overrides: Sequence[str], config_dir: str | None) -> DictConfig:
    search = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
    with initialize_config_module(CONF_PACKAGE, version_base="1.3"):
        return compose("config", overrides=[*overrides, *search])


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; see digitnet --help")


def _faults(error: ValidationError, content: dict[Any, Any]) -> list[str]:
    """Pydantic's findings, one text a key: `key=value: should be …`."""
    faults: dict[str, str] = {}
    # What is unknown first: it may be what is missing, misspelt.
    for fault in sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden"):
        key, value = _locate(fault["loc"], content)
        match fault["type"]:
            case "extra_forbidden":
                missing = [f["loc"] for f in error.errors() if f["type"] == "missing"]
                wanted = {f"{_locate(loc, content)[0]}.{loc[-1]}" for loc in missing}
                faults[key] = f"no key '{key}'" + _did_you_mean(key, (set(_keys(content)) - {key}) | wanted)
            case "missing":
                key = f"{key}.{fault['loc'][-1]}".lstrip(".")
                faults[key] = f"{key}: has no value; set {key}=VALUE"
            case "union_tag_invalid" | "union_tag_not_found":
                faults[key] = f"{key}.name: not one of {fault['ctx'].get('expected_tags', 'them')}; set {key}=OPTION"
            case "value_error":  # about several keys of a group
                faults[key] = f"{key}: {fault['msg'].removeprefix('Value error, ')}"
            case "model_type":
                faults[key] = f"{key}={_in_yaml(value)}: is a group of keys; set {key}.KEY=VALUE"
            case _:
                text = fault["msg"].removeprefix("Input ").partition(" or instance of ")[0]
                if key in faults:  # what another member of a union says
                    faults[key] += f" or {text.removeprefix('should be ')}"
                else:
                    faults[key] = f"{key}={_in_yaml(value)}: {text[:1].lower() + text[1:]}"
    return list(faults.values())


def _locate(loc: Sequence[str | int], content: dict[Any, Any]) -> tuple[str, Any]:
    """The dotted key and the value of a finding; its place also names members of unions, which are no keys."""
    path: list[str] = []
    node: Any = content
    for part in loc:
        with contextlib.suppress(KeyError, IndexError, TypeError):
            node = node[part]
            path.append(str(part))
    return ".".join(path), node


def _in_yaml(value: Any) -> str:
    """A value as the command line has it."""
    return OmegaConf.to_yaml(OmegaConf.create([value])).strip().removeprefix("- ").partition("\n")[0]


def _explain(error: Exception, overrides: Sequence[str], config_dir: str | None) -> ConfigError:
    """Hydra's complaint in digitnet's form, with the names that are nearest."""
    text = str(error) or str(error.__cause__)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        typed = [o.lstrip("+") for o in overrides if o.lstrip("+").replace("=", "/", 1) == error.missing_cfg_file]
        group, _, option = typed[0].partition("=") if typed else error.missing_cfg_file.rpartition("/")
        near = difflib.get_close_matches(option, error.options, n=2)
        hint = f" … did you mean {' or '.join(map(repr, near))}? There are" if near else "; there are"
        return ConfigError(f"{group}={option}: no such option{hint} {', '.join(error.options)}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return ConfigError(f"no such group: {_first_line(error)}")
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found[1]
        return ConfigError(f"no key '{key}'{_did_you_mean(key, _known_keys(overrides, config_dir))}")
    if "Config group override must be" in text:
        names = [o for o in overrides if o.partition("=")[0] in Config.model_fields]
        wrong = next((o for o in names if not re.search("=[A-Za-z_]", o)), " ".join(overrides))
        return ConfigError(f"{wrong}: not the name of an option; see digitnet --help")
    if found := re.search(r"Could not delete from config. '([^']+)'", text):
        key = found[1]
        return ConfigError(f"no key '{key}' to delete{_did_you_mean(key, _known_keys(overrides, config_dir))}")
    if "Ambiguous value for argument" in text:
        override = text.partition("argument '")[2].partition("'\n")[0]
        return ConfigError(f"{override}: several values; to run them all, add -m; for a list, use [a,b]")
    if found := re.search(r"Multiple values for (\S+)\. ", text):
        return ConfigError(f"{found[1]} is chosen already; leave out the '+': {found[1]}=OPTION")
    if "See https://hydra.cc" in text:
        reason = _first_line(error)
        # The whole override is in the text, or only what could be read of its value.
        named = [o for o in overrides if o in text] or [o for o in overrides if o.partition("=")[2] in text]
        wrong = max(named or overrides, key=len)
        key, _, value = wrong.partition("=")
        return ConfigError(f"{wrong}: cannot be read ({reason});\nquote what is more than a word: '{key}=\"{value}\"'")
    return ConfigError(_first_line(error))


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or str(error.__cause__ or type(error).__name__).strip()
    return text.partition("\n")[0].strip()


def _known_keys(overrides: Iterable[str], config_dir: str | None) -> list[str]:
    """All keys of the configuration that comes of those overrides that choose options."""
    chosen = [override for override in overrides if re.fullmatch(r"[a-z_/]+=[\w-]+", override)]
    for choice in (chosen, []):
        with contextlib.suppress(HydraException, OmegaConfBaseException, ValueError):
            keys = _keys(OmegaConf.to_container(_compose(choice, config_dir)))
            return ["experiment", *keys]  # whose options leave no key of their own
    return []


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys, groups included."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown `name`: the nearest of `known`, found also where its group is left out."""
    names = sorted(set(known))
    group, _, leaf = name.rpartition(".")
    siblings = [full.rpartition(".")[2] for full in names if full.rpartition(".")[0] == group]
    near = [f"{group}.{sibling}".lstrip(".") for sibling in difflib.get_close_matches(leaf, siblings, n=2)]
    options = [option for option, keys in group_keys(group).items() if leaf in keys]
    if options and not near:
        return f"; it belongs to {' and '.join(f'{group}={option}' for option in options)}"
    if near := near or [full for full in names if full.rpartition(".")[2] == leaf]:
        return f" … did you mean {' or '.join(repr(full) for full in near[:3])}?"
    if group in names and not siblings:
        return f"; to add it, write +{name}=VALUE"
    return f"; there are {', '.join(siblings)}" if siblings else ""
