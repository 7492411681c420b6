"""Translates Hydra's errors into messages of digitnet, by their text, which is that of Hydra 1.3.8 and 1.4.0rc3."""

import contextlib
import errno
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
class HydraFailure:
    """An exception of Hydra, and the overrides and config directories that it was called with."""

    error: Exception
    overrides: Sequence[str]
    tree: Tree

    @property
    def text(self) -> str:
        return str(self.error) or str(self.error.__cause__)


def explain(error: Exception, overrides: Sequence[str], tree: Tree) -> ConfigError:
    """Translate an exception of Hydra. Faults that `lint` finds in the files have been reported before."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return ConfigError(not_yaml(error, Path(error.problem_mark.name)))
    failure = HydraFailure(error, overrides, tree)
    if (missing := missing_config(error)) is not None:
        return ConfigError(_missing_file(*missing, failure))
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        group, _, option = max(overrides, key=len).lstrip("+").partition("=")
        return ConfigError(no_option(group, option, tree.options(group)))
    for pattern, translate in PATTERNS:
        if (match := re.search(pattern, failure.text)) and (message := translate(match, failure)) is not None:
            return ConfigError(message)
    return ConfigError(_untranslated(failure))


Translation = Callable[[re.Match[str], HydraFailure], Fault | str | None]  # None: the error has another cause


def _missing_file(name: str, options: list[str] | None, failure: HydraFailure) -> str:
    """The message about an option, or a group, that does not exist."""
    group, _, option = name.rpartition("/")
    if options is None and group in failure.tree.groups:  # of several: tracker=[tensorboard,nope]
        return no_option(group, option, failure.tree.options(group))
    if options is None:
        return f"no such group: {first_line(failure.error)}"
    typed = [
        override.lstrip("+") for override in failure.overrides if override.lstrip("+").replace("=", "/", 1) == name
    ]
    group, _, option = typed[0].partition("=") if typed else name.rpartition("/")
    return no_option(group, option, options)


def _merge_error(match: re.Match[str], failure: HydraFailure) -> str | None:
    cause = failure.error.__cause__
    return f"{match[1]}: {first_line(cause)}" if cause else None


def _not_overridden(match: re.Match[str], failure: HydraFailure) -> str:
    """The message about a group that the root does not choose, a value that is not an option, or an unknown key."""
    name, overrides, tree = match[1], failure.overrides, failure.tree
    if inner := re.search(rf"full_key: ({re.escape(name)}\.\S+)", str(failure.error.__cause__)):  # trainer={nope: 3}
        name = inner[1]
    if name not in GROUPS:
        return unknown_key(name, overrides, tree)
    if any(override == f"{name}={option}" for override in overrides for option in tree.options(name)):
        return f"the root's defaults have no '{name}'; write +{name}=OPTION, or add it there"
    wrong = next((override for override in overrides if override.lstrip("+").startswith(f"{name}=")), name)
    return f"{wrong}: not the name of an option; see digitnet --help"


def _not_an_option_name(match: re.Match[str], failure: HydraFailure) -> str:
    names = [override for override in failure.overrides if override.partition("=")[0] in Config.model_fields]
    wrong = next((name for name in names if re.search(r"=(null|true|false|[^A-Za-z_].*)$", name)), None)
    return f"{wrong or ' '.join(failure.overrides)}: not the name of an option; see digitnet --help"


def _not_deleted(match: re.Match[str], failure: HydraFailure) -> str:
    message = unknown_key(match[1], failure.overrides, failure.tree)
    return message.replace(f"'{match[1]}'", f"'{match[1]}' to delete", 1)


HYDRA_FUNCTIONS = (
    "bool", "choice", "float", "glob", "int", "interval", "json_str", "range", "shuffle", "sort", "str", "tag",
)  # fmt: skip
FUNCTIONS = "choice(a,b), range(a,b), interval(a,b), tag(log, interval(a,b)) and shuffle(a,b)"
TYPOGRAPHIC_QUOTES = re.compile("[\u2018-\u201f\u00ab\u00bb]")


def _unreadable(match: re.Match[str], failure: HydraFailure) -> str:
    """The message about an override that Hydra's grammar does not accept."""
    reason = first_line(failure.error)
    wrong = next((typed for typed in failure.overrides if not is_readable(typed)), " ".join(failure.overrides))
    key, _, value = wrong.partition("=")
    if hint := _hint(key, value):
        return f"{wrong}: {hint}"
    why = "" if "Exception" in reason or "Error parsing" in reason else f" ({reason})"
    if not value or not re.fullmatch(r"[+~]*[\w./@]+", key):
        return f"{wrong}: cannot be read{why}; it is KEY=VALUE or GROUP=OPTION"
    return f"{wrong}: cannot be read{why};\nquote a value with special characters: '{key}=\"{value}\"'"


def _hint(key: str, value: str) -> str:
    """What is wrong with an unreadable override, as far as its text shows it; "" if it does not."""
    if quote := TYPOGRAPHIC_QUOTES.search(f"{key}={value}"):
        plain = TYPOGRAPHIC_QUOTES.sub("", f"{key}={value}")
        return f"has a typographic quote, {quote[0]}; write {plain}, or plain quotes"
    if value.endswith(",") or value.startswith(","):
        return f"a comma without a value beside it; write the values without blanks: {key}=A,B"
    if value.startswith("="):
        return f"has two '='; write {key}{value}"
    if any(value.count(a) != value.count(b) for a, b in ("[]", "{}", "()")):
        return "cannot be read; a bracket is not closed"
    if (call := re.fullmatch(r"(\w+)\((.*)\)", value)) and call[1] not in HYDRA_FUNCTIONS:
        name, arguments = call.groups()
        if name in ("log", "loguniform", "log_uniform", "logspace"):
            bounds = ", ".join(arguments.split(",")[:2])
            return f"no function '{name}'; for digitnet tune, write {key}='tag(log, interval({bounds}))'"
        return f"no function '{name}'; there are {FUNCTIONS}"
    return ""


def _untranslated(failure: HydraFailure) -> str:
    """The first line of an error that no pattern matches, with the overrides if it names none of them."""
    reason = first_line(failure.error).partition(" : Override(")[0]
    if failure.overrides and not any(override in reason for override in failure.overrides):
        return f"{' '.join(failure.overrides)}: {reason}"
    return reason


# A pattern of Hydra's message, and its translation. The first translation that is not None is used.
PATTERNS: list[tuple[str, Translation]] = [
    (r"(?s)^Error merging override (.*)", _merge_error),
    (r"Could not override '([^']+)'", _not_overridden),
    (r"Config group override must be", _not_an_option_name),
    (r"Could not delete from config. '([^']+)'", _not_deleted),
    (
        r"(?s)Ambiguous value for argument '(.*?)'\n",
        lambda match, _: f"{match[1]}: several values; to run them all, add -m; for a list, use [a,b]",
    ),
    (
        r"^Sweep parameters '(.*)' requires --multirun",
        lambda match, _: f"{match[1]}: several values; to run them all, add -m",
    ),
    (
        r"Multiple values for (\S+)\. ",
        lambda match, _: f"{match[1]} is chosen already; leave out the '+': {match[1]}=OPTION",
    ),
    (r"See https://hydra\.cc/\S*override_grammar", _unreadable),
    (
        r"^(?:In '([^']+)': )?.*? raised while composing config:\n(.*)\n\s+full_key: (\S+)",
        lambda match, failure: _in_file(f"{match[3]}: {match[2]}", match[1], failure.tree, match[3]),
    ),
    (
        r"^In '([^']+)': Overriding hydra.searchpath",
        lambda match, failure: _in_file(NO_SEARCHPATH, match[1], failure.tree, "hydra.searchpath"),
    ),
    (r"^In '([^']+)': (.*)", lambda match, failure: _in_file(match[2], match[1], failure.tree, "defaults")),
    (r"\n\s+full_key: (\S+)", lambda match, failure: f"{match[1]}: {first_line(failure.error)}"),
]


def _in_file(message: str, name: str | None, tree: Tree, key: str) -> Fault:
    """A fault with the file of that name, if it exists, and the line of the key."""
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
    """The message about an unknown key, with similar ones in the configuration with the options of `overrides`."""
    chosen = [override for override in overrides if re.fullmatch(r"[a-z_/]+=([\w-]+|\[[\w, -]+\])", override)]
    for choice in (chosen, []):
        with contextlib.suppress(Exception), composing(tree):
            content = compose_config(tree.root, choice, with_hydra=name.startswith("hydra."))
            existing = [key for key in nested_keys(OmegaConf.to_container(content)) if not key.startswith("sweep.")]
            return no_key(name, [*PRESETS, *existing])
    return no_key(name, [])
