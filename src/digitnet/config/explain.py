"""Hydra's complaints in digitnet's words, which it reads by their wording (Hydra 1.3)."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf

from digitnet.config import check
from digitnet.config.files import Tree, no_option, not_yaml
from digitnet.config.guard import NO_SEARCHPATH
from digitnet.config.hydra_adapter import loading
from digitnet.config.schema import GROUPS, PRESETS, Config
from digitnet.errors import ConfigError, Fault


def explain(error: Exception, overrides: Sequence[str], tree: Tree) -> ConfigError:
    """Hydra's complaint in digitnet's form. What is wrong with the files by themselves has been answered before."""
    text = str(error) or str(error.__cause__)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return ConfigError(not_yaml(error, Path(error.problem_mark.name)))
    if text.startswith("Error merging override") and error.__cause__:
        return ConfigError(f"{text.partition('override ')[2]}: {first_line(error.__cause__)}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        typed = [o.lstrip("+") for o in overrides if o.lstrip("+").replace("=", "/", 1) == error.missing_cfg_file]
        group, _, option = typed[0].partition("=") if typed else error.missing_cfg_file.rpartition("/")
        for path in (directory / group / f"{option}.yml" for directory in tree.own):
            if path.is_file():
                return ConfigError(Fault(f"{group}={option}: its file is not looked at; the ending is .yaml", "", path))
        return ConfigError(no_option(group, option, error.options))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return ConfigError(f"no such group: {first_line(error)}")
    if (found := re.search(r"Could not override '([^']+)'", text)) and found[1] in GROUPS:
        if any(override == f"{found[1]}={option}" for override in overrides for option in tree.options(found[1])):
            return ConfigError(f"the root's defaults have no '{found[1]}'; write +{found[1]}=OPTION, or add it there")
        wrong = next((override for override in overrides if override.lstrip("+").startswith(f"{found[1]}=")), found[1])
        return ConfigError(f"{wrong}: not the name of an option; see digitnet --help")
    if found:
        return ConfigError(unknown_key(found[1], overrides, tree))
    if "Config group override must be" in text:
        names = [o for o in overrides if o.partition("=")[0] in Config.model_fields]
        wrong = next((o for o in names if re.search(r"=(null|true|false|[^A-Za-z_].*)$", o)), " ".join(overrides))
        return ConfigError(f"{wrong}: not the name of an option; see digitnet --help")
    if found := re.search(r"Could not delete from config. '([^']+)'", text):
        message = unknown_key(found[1], overrides, tree)
        return ConfigError(message.replace(f"'{found[1]}'", f"'{found[1]}' to delete", 1))
    if "Ambiguous value for argument" in text:
        override = text.partition("argument '")[2].partition("'\n")[0]
        return ConfigError(f"{override}: several values; to run them all, add -m; for a list, use [a,b]")
    if found := re.match("Sweep parameters '(.*)' requires --multirun", text):
        return ConfigError(f"{found[1]}: several values; to run them all, add -m")
    if found := re.search(r"Multiple values for (\S+)\. ", text):
        return ConfigError(f"{found[1]} is chosen already; leave out the '+': {found[1]}=OPTION")
    if "See https://hydra.cc" in text:
        reason = first_line(error)
        wrong = next((override for override in overrides if not _is_readable(override)), " ".join(overrides))
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
        return ConfigError(f"{found[1]}: {first_line(error)}")
    reason = first_line(error).partition(" : Override(")[0]
    typed = [] if any(override in reason for override in overrides) else [" ".join(overrides)][: len(overrides)]
    return ConfigError(": ".join([*typed, reason]))


def _is_readable(override: str) -> bool:
    """By Hydra's grammar."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _in_file(message: str, name: str, tree: Tree, key: str) -> Fault:
    """A fault in the file of that name, if there is one, and in the line of the key."""
    if tree.find(name) is None:
        return Fault(message, key)
    source = tree.read(name)
    return Fault(message, key, source.path, source.line_of(key.split(".")))


def chosen_files(overrides: Iterable[str], tree: Tree) -> list[str]:
    """The names of the files that the root and the overrides choose."""
    pairs = [override.lstrip("+").partition("=") for override in overrides]
    return [tree.root, *(f"{key.partition('@')[0]}/{value}" for key, _, value in pairs if "." not in key)]


def first_line(error: BaseException) -> str:
    text = str(error).strip() or str(error.__cause__ or type(error).__name__).strip()
    return text.partition("\n")[0].strip()


def unknown_key(name: str, overrides: Iterable[str], tree: Tree) -> str:
    """The message about an unknown key, with those of the configuration that the choices among `overrides` make."""
    chosen = [override for override in overrides if re.fullmatch(r"[a-z_/]+=[\w-]+", override)]
    for choice in (chosen, []):
        with contextlib.suppress(Exception), loading(tree):
            content = compose(tree.root, overrides=choice, return_hydra_config=name.startswith("hydra."))
            known = check.keys(OmegaConf.to_container(content))
            return check.no_key(name, [*PRESETS, *known])
    return check.no_key(name, [])
