"""Hydra's complaints in digitnet's words. Their wording tells them apart: the same in Hydra 1.3.8 and 1.4.0rc3."""

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from digitnet.config.check import no_key
from digitnet.config.dotted import nested_keys
from digitnet.config.files import Tree, no_option
from digitnet.config.guard import NO_SEARCHPATH
from digitnet.config.hydra_adapter import compose_config, composing, is_readable, missing_config
from digitnet.config.schema import GROUPS, PRESETS, Config
from digitnet.config.yaml_file import not_yaml
from digitnet.errors import ConfigError, Fault


@dataclass(frozen=True)
class Complaint:
    """An error of Hydra's, and what it was asked for."""

    error: Exception
    overrides: Sequence[str]
    tree: Tree

    @property
    def text(self) -> str:
        return str(self.error) or str(self.error.__cause__)


def explain(error: Exception, overrides: Sequence[str], tree: Tree) -> ConfigError:
    """Hydra's complaint in digitnet's form. What is wrong with the files by themselves has been answered before."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return ConfigError(not_yaml(error, Path(error.problem_mark.name)))
    complaint = Complaint(error, overrides, tree)
    if (missing := missing_config(error)) is not None:
        return ConfigError(_missing(*missing, complaint))
    for pattern, answer in PATTERNS:
        if (found := re.search(pattern, complaint.text)) and (message := answer(found, complaint)) is not None:
            return ConfigError(message)
    return ConfigError(_first_line_only(complaint))


Answer = Callable[[re.Match[str], Complaint], Fault | str | None]  # None: the complaint is about something else


def _missing(name: str, options: list[str] | None, complaint: Complaint) -> str:
    """An option, or a group, that there is not."""
    if options is None:
        return f"no such group: {first_line(complaint.error)}"
    typed = [
        override.lstrip("+") for override in complaint.overrides if override.lstrip("+").replace("=", "/", 1) == name
    ]
    group, _, option = typed[0].partition("=") if typed else name.rpartition("/")
    return no_option(group, option, options)


def _merging(found: re.Match[str], complaint: Complaint) -> str | None:
    cause = complaint.error.__cause__
    return f"{found[1]}: {first_line(cause)}" if cause else None


def _not_overridden(found: re.Match[str], complaint: Complaint) -> str:
    """A group that the root does not choose, a value that is no option, or a key that there is not."""
    name, overrides, tree = found[1], complaint.overrides, complaint.tree
    if name not in GROUPS:
        return unknown_key(name, overrides, tree)
    if any(override == f"{name}={option}" for override in overrides for option in tree.options(name)):
        return f"the root's defaults have no '{name}'; write +{name}=OPTION, or add it there"
    wrong = next((override for override in overrides if override.lstrip("+").startswith(f"{name}=")), name)
    return f"{wrong}: not the name of an option; see digitnet --help"


def _no_name(found: re.Match[str], complaint: Complaint) -> str:
    names = [override for override in complaint.overrides if override.partition("=")[0] in Config.model_fields]
    wrong = next((name for name in names if re.search(r"=(null|true|false|[^A-Za-z_].*)$", name)), None)
    return f"{wrong or ' '.join(complaint.overrides)}: not the name of an option; see digitnet --help"


def _not_deleted(found: re.Match[str], complaint: Complaint) -> str:
    message = unknown_key(found[1], complaint.overrides, complaint.tree)
    return message.replace(f"'{found[1]}'", f"'{found[1]}' to delete", 1)


def _unreadable(found: re.Match[str], complaint: Complaint) -> str:
    """An override that is none by Hydra's grammar."""
    reason = first_line(complaint.error)
    wrong = next((typed for typed in complaint.overrides if not is_readable(typed)), " ".join(complaint.overrides))
    key, _, value = wrong.partition("=")
    if any(value.count(a) != value.count(b) for a, b in ("[]", "{}", "()")):
        return f"{wrong}: cannot be read; a bracket is not closed"
    why = "" if "Exception" in reason or "Error parsing" in reason else f" ({reason})"
    if not value or not re.fullmatch(r"[+~]*[\w./@]+", key):
        return f"{wrong}: cannot be read{why}; it is KEY=VALUE or GROUP=OPTION"
    return f"{wrong}: cannot be read{why};\nquote what is more than a word: '{key}=\"{value}\"'"


def _first_line_only(complaint: Complaint) -> str:
    reason = first_line(complaint.error).partition(" : Override(")[0]
    if complaint.overrides and not any(override in reason for override in complaint.overrides):
        return f"{' '.join(complaint.overrides)}: {reason}"
    return reason


# What Hydra's message says -> what digitnet answers, the first that does.
PATTERNS: list[tuple[str, Answer]] = [
    (r"(?s)^Error merging override (.*)", _merging),
    (r"Could not override '([^']+)'", _not_overridden),
    (r"Config group override must be", _no_name),
    (r"Could not delete from config. '([^']+)'", _not_deleted),
    (
        r"(?s)Ambiguous value for argument '(.*?)'\n",
        lambda found, _: f"{found[1]}: several values; to run them all, add -m; for a list, use [a,b]",
    ),
    (
        r"^Sweep parameters '(.*)' requires --multirun",
        lambda found, _: f"{found[1]}: several values; to run them all, add -m",
    ),
    (
        r"Multiple values for (\S+)\. ",
        lambda found, _: f"{found[1]} is chosen already; leave out the '+': {found[1]}=OPTION",
    ),
    (r"See https://hydra\.cc/\S*override_grammar", _unreadable),
    (
        r"^(?:In '([^']+)': )?.*? raised while composing config:\n(.*)\n\s+full_key: (\S+)",
        lambda found, complaint: _in_file(f"{found[3]}: {found[2]}", found[1], complaint.tree, found[3]),
    ),
    (
        r"^In '([^']+)': Overriding hydra.searchpath",
        lambda found, complaint: _in_file(NO_SEARCHPATH, found[1], complaint.tree, "hydra.searchpath"),
    ),
    (r"^In '([^']+)': (.*)", lambda found, complaint: _in_file(found[2], found[1], complaint.tree, "defaults")),
    (r"\n\s+full_key: (\S+)", lambda found, complaint: f"{found[1]}: {first_line(complaint.error)}"),
]


def _in_file(message: str, name: str | None, tree: Tree, key: str) -> Fault:
    """A fault in the file of that name, if there is one, and in the line of the key."""
    if name is None or tree.find(name) is None:
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
        with contextlib.suppress(Exception), composing(tree):
            content = compose_config(tree.root, choice, with_hydra=name.startswith("hydra."))
            return no_key(name, [*PRESETS, *nested_keys(OmegaConf.to_container(content))])
    return no_key(name, [])
