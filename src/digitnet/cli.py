"""The command line, and the one place where errors become messages and exit codes."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet import __version__, commands
from digitnet.errors import ConfigError, DigitnetError, one_line, reason
from digitnet.interrupts import Stop, listening

if TYPE_CHECKING:
    from digitnet.schema import Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` (by default the command line's) say, and return the exit code.

    0: done; 2: the command line or the configuration is wrong; 1: the run failed; 130: interrupted.
    """
    with listening() as stop:
        return _main(sys.argv[1:] if arguments is None else list(arguments), stop)


def _main(arguments: Sequence[str], stop: Stop) -> int:
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with stop.heeded():
            errors = _dispatch(arguments)
        sys.stdout.flush()  # here, where a reader that went away is no error
        if traceback and errors:
            raise errors[0]
        return max((_known(error).exit_code for error in errors), default=0)
    except SystemExit as leave:  # argparse's way out of --help, and Hydra's
        return leave.code if isinstance(leave.code, int) else 1
    except BrokenPipeError:  # `digitnet --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if traceback:
            raise
        _show(error)
        return _known(error).exit_code
    except KeyboardInterrupt as interrupt:
        _show(DigitnetError(str(interrupt) or "interrupted"))
        return 130


def _dispatch(arguments: Sequence[str]) -> Sequence[Exception]:
    """Run the command, or train; returns what failed, whose messages were shown."""
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0] and arguments[0][:1] != "~":
        return commands.run(arguments[0], arguments[1:])
    options = commands.flag_parser().parse_intermixed_args(
        [f"{word}=all" if word == "--info" and "=" in after else word for word, after in pairwise([*arguments, ""])]
    )
    if options.version:
        print(f"digitnet {__version__}")
        return []
    if options.help:
        return commands.run("help", ["--config-dir", options.config_dir] if options.config_dir else [])
    return _train(options)


def _train(options: argparse.Namespace) -> Sequence[Exception]:
    """One run, or a sweep, or what is shown instead; returns how runs failed, whose messages were shown."""
    from digitnet.compose import plan, show, sweep
    from digitnet.lock import locked
    from digitnet.sources import Tree

    tree = Tree.at(options.config_dir, options.config_name)
    flags = ["--resolve"] if options.resolve else []
    for name in ("cfg", "package", "info"):
        if value := getattr(options, name):
            flags += [f"--{name}", value]
    if (options.resolve or options.package) and not options.cfg:
        raise ConfigError("--resolve and --package go with --cfg; see digitnet --help")
    if flags:
        show(options.overrides, tree, flags)
        return []

    errors: list[Exception] = []

    def failed(error: Exception) -> None:
        # Not raised, so that a sweep goes on with its next job.
        _show(error)
        errors.append(error)

    def train(config: "Config", run_dir: Path, check: Callable[[], None], command: str) -> None:
        from digitnet.experiment import run  # torch: seconds, which mistakes in the configuration need not wait for

        run(config, run_dir, check, command)

    def job(config: "Config", run_dir: Path, command: str) -> None:
        try:
            with locked(run_dir) as check:
                train(config, run_dir, check, command)
        except Exception as error:
            failed(error)

    if options.multirun:
        sweep(options.overrides, tree, job, failed)
        return errors
    ready = plan(options.overrides, tree)
    with ready.claimed() as check:
        train(ready.config, ready.run_dir, check, ready.command)
    return []


def _known(error: Exception) -> DigitnetError:
    """The error as one of ours: also a full disk, a folder without permission, and what a user's own network raises."""
    if isinstance(error, DigitnetError):
        return error
    if isinstance(error, OSError):
        return DigitnetError(reason(error))
    text = one_line(error)
    if "OutOfMemory" in text:
        return DigitnetError(f"{text}\nlower trainer.batch_size")
    return DigitnetError(f"{text}\nHYDRA_FULL_ERROR=1 shows where")


def _show(error: Exception) -> None:
    from digitnet.display import show_error

    show_error(str(_known(error)))
