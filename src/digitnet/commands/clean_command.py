"""Remove runs that are of no use, and checkpoints that are not the best.

digitnet clean --dry-run                   list what would be removed of outputs/: failed and broken runs
digitnet clean                             remove it, after a question
digitnet clean --unfinished --checkpoints  interrupted and killed runs; of finished ones all checkpoints but best.pt
digitnet clean SWEEP_DIR --failed --yes    only that, without a question

Only digitnet's own files are removed; others in the folder of a run stay, and so does a run that a process works at. A
run without last.pt cannot be resumed for more epochs; an unfinished one cannot be resumed once it is removed.
"""

import argparse
import sys

from digitnet.commands.compare_command import DEFAULT_PATH
from digitnet.errors import ConfigError, DigitnetError
from digitnet.text import file_size, plural, short_path, show

DEFAULT_KINDS = ("failed", "broken")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="a run, a sweep, or a folder that contains runs (default: outputs)")
    add("--failed", action="store_true", help="runs that ended with an error")
    add("--broken", action="store_true", help="runs that never started training, or whose summary is damaged")
    add("--unfinished", action="store_true", help="runs that were interrupted or killed")
    add("--checkpoints", action="store_true", help="checkpoints of finished runs, except best.pt")
    add("--dry-run", action="store_true", help="only list what would be removed")
    add("--yes", action="store_true", help="do not ask")


def main(options: argparse.Namespace) -> None:
    """List what can be removed, ask, and remove it. Raises ConfigError, or DigitnetError if something cannot be."""
    from digitnet.runs.reader import find_runs  # --help does not need them
    from digitnet.runs.space import KINDS, removals, remove_all

    kinds = [kind for kind in KINDS if getattr(options, kind)] or DEFAULT_KINDS
    found = removals(find_runs(options.paths or [DEFAULT_PATH]), kinds)
    for removal in found:
        what = plural(len(removal.checkpoints), "checkpoint") if removal.checkpoints else removal.run.status
        show(f"{short_path(removal.run.folder)}: {what}, {file_size(removal.size)}")
    total = f"{plural(len(found), 'run')}, {file_size(sum(removal.size for removal in found))}"
    if not found:
        show(f"nothing to remove ({', '.join(kinds)})")
        return
    if options.dry_run:
        show(f"would remove: {total}")
        return
    if not options.yes and not _agreed(f"Remove {total}? [y/N] "):
        show("nothing removed")
        return
    freed, failures = remove_all(found)
    show(f"removed: {file_size(freed)}")
    if failures:
        raise DigitnetError("\n".join(failures[:3]))


def _agreed(question: str) -> bool:
    """The user's answer. Raises ConfigError if there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask at; add --yes, or --dry-run to remove nothing")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
