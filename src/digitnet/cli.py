"""The command line, and the one place where errors become messages and exit codes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet import __version__
from digitnet.errors import DigitnetError, one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` (by default the command line's) say, and return the exit code.

    0: done; 2: the command line or the configuration is wrong; 1: the run failed; 130: interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if "--version" in arguments:
        print(f"digitnet {__version__}")
        return 0
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        errors = _launch(arguments)
        if traceback and errors:
            raise errors[0]
        return max((_known(error).exit_code for error in errors), default=0)
    except SystemExit as leave:  # Hydra's way out of --help
        return leave.code if isinstance(leave.code, int) else 1
    except BrokenPipeError:  # `digitnet --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DigitnetError as error:
        if traceback:
            raise
        _show(error)
        return error.exit_code
    except OSError as error:  # from Hydra: jobs' own errors are kept
        if traceback:
            raise
        _show(DigitnetError(f"cannot make the run's folder ({_known(error)}); set hydra.run.dir=FOLDER to another"))
        return 1
    except KeyboardInterrupt as interrupt:
        _show(DigitnetError(str(interrupt) or "interrupted"))
        return 130


def _launch(arguments: Sequence[str]) -> list[Exception]:
    """Run what the command line asks for; returns how jobs failed, whose messages were shown."""
    from digitnet.compose import check, launch

    errors: list[Exception] = []

    def job(composed: "DictConfig", run_dir: Path, command: str) -> None:
        try:
            config = check(composed)
            from digitnet.experiment import run  # torch: seconds, which mistakes in the configuration need not wait for

            run(config, run_dir, command)
        except Exception as error:
            # Not raised through Hydra, which would say so in words of its own; a sweep goes on with its next job.
            _show(error)
            errors.append(error)

    launch(arguments, job)
    return errors


def _known(error: Exception) -> DigitnetError:
    """The error as one of ours: also a full disk, a folder without permission, and what a user's own network raises."""
    if isinstance(error, DigitnetError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return DigitnetError(f"{where}{error.strerror or error}")
    reason = one_line(error)
    if "OutOfMemory" in reason:
        return DigitnetError(f"{reason}\nlower trainer.batch_size")
    return DigitnetError(f"{reason}\nHYDRA_FULL_ERROR=1 shows where")


def _show(error: Exception) -> None:
    from digitnet.display import show_error

    show_error(str(_known(error)))
