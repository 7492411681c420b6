"""The command line, and the one place where errors become messages and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from digitnet import commands
from digitnet.errors import ConfigError, DigitnetError, as_digitnet_error
from digitnet.signals import Stop, handling_signals
from digitnet.streams import NAMES, drop_output, prepare_streams
from digitnet.text import show
from digitnet.training.distributed import current_group, refuse_under_torchrun
from digitnet.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (by default the process's), and return the exit code.

    0: done; 2: the command line or the configuration is wrong; 1: the run failed; 130: interrupted.
    """
    with handling_signals() as stop:
        prepare_streams()
        return _main(sys.argv[1:] if arguments is None else list(arguments), stop)


def _main(arguments: Sequence[str], stop: Stop) -> int:
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        if current_group().size > 1:  # otherwise every process would print PyTorch's C++ warnings
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        with stop.converting_errors():
            _check_working_directory()
            _dispatch(arguments)
        sys.stdout.flush()  # inside `try`: BrokenPipeError is handled below
        return 0
    except SystemExit as request:  # argparse raises it after --help, Hydra after --cfg
        return request.code if isinstance(request.code, int) else 1
    except Exception as error:
        if isinstance(error, OSError) and error.filename == NAMES[1]:
            drop_output()
            if isinstance(error, BrokenPipeError):  # `digitnet --help | head`
                return 0
        if traceback:
            raise
        stop.ignore_signals()
        _show_error(error)
        return as_digitnet_error(error).exit_code
    except KeyboardInterrupt as interrupt:
        stop.ignore_signals()
        _show_error(interrupt)
        return 130


def _check_working_directory() -> None:
    """Raise DigitnetError if it was removed, which all kinds of functions would report in all kinds of ways."""
    try:
        Path.cwd()
    except OSError as error:
        raise DigitnetError(f"the working directory: {error.strerror}; change to one that exists") from error


def _dispatch(arguments: Sequence[str]) -> None:
    """Run the subcommand that `arguments` begin with or, if they do not begin with one, train."""
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0] and arguments[0][:1] != "~":
        if arguments[0] in set(commands.NAMES) - {"resume"}:
            refuse_under_torchrun(f"digitnet {arguments[0]}")
        commands.run_command(arguments[0], arguments[1:])
        return
    options = commands.flag_parser().parse_intermixed_args(
        # `--info` before an override: argparse would take the override for the value of --info.
        [f"{word}=all" if word == "--info" and "=" in after else word for word, after in pairwise([*arguments, ""])]
    )
    if options.version:
        print(f"digitnet {__version__}")
    elif options.help:
        commands.run_command("help", ["--config-dir", options.config_dir] if options.config_dir else [])
    else:
        _train(options)


def _train(options: argparse.Namespace) -> None:
    """Train one run or a sweep; with --cfg or --info, only show the configuration."""
    from digitnet.config.compose import compose_run, show_config
    from digitnet.config.files import Tree, asks_for_sweep
    from digitnet.runs.folder import RunFolder

    tree = Tree.at(options.config_dir, options.config_name)
    flags = ["--resolve"] if options.resolve else []
    for name in ("cfg", "package", "info"):
        if value := getattr(options, name):
            flags += [f"--{name}", value]
    if (options.resolve or options.package) and not options.cfg:
        raise ConfigError("--resolve and --package need --cfg; see digitnet --help")
    if flags:
        show_config(options.overrides, tree, flags)
        return
    is_sweep = options.multirun or asks_for_sweep(options.overrides)
    if options.dry_run:
        from digitnet.sweep.dry_run import dry_run

        refuse_under_torchrun("--dry-run")
        for line in dry_run(options.overrides, tree, is_sweep):
            show(line)
        return
    if is_sweep:
        from digitnet.sweep.multirun import run_sweep

        run_sweep(options.overrides, tree)
        return
    composition = compose_run(options.overrides, tree)
    with RunFolder.claim(composition.run_dir, composition.hydra_files()) as folder:
        from digitnet.experiment.run import run_experiment  # imports torch: seconds, only after the config is checked

        run_experiment(composition.config, folder, composition.command, warnings=composition.warnings)


def _show_error(error: Exception | KeyboardInterrupt) -> None:
    """Print the error, or that the command was stopped, to stderr; under torchrun only one of the processes does."""
    from digitnet.report.terminal import show_error, show_stop

    try:
        reports = current_group().reports_error()
    except ConfigError:  # no process's variables
        reports = True
    if not reports:
        return
    if isinstance(error, KeyboardInterrupt):
        show_stop(str(error) or "Stopped")
    else:
        show_error(str(as_digitnet_error(error)))
