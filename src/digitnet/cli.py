"""The command line, and the one place where errors become messages and exit codes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from digitnet import __version__
from digitnet.errors import DigitnetError

if TYPE_CHECKING:
    from digitnet.schema import Config


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` (by default the command line's) say, and return the exit code.

    0: done; 2: the command line or the configuration is wrong; 1: the run failed; 130: interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(f"digitnet {__version__}")
        return 0
    traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        errors = _launch(arguments)
        if traceback and errors:
            raise errors[0]
        return max((error.exit_code for error in errors), default=0)
    except SystemExit as leave:  # Hydra's way out of --help
        return int(leave.code or 0)
    except BrokenPipeError:  # `digitnet --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (DigitnetError, OSError) as error:
        if traceback:
            raise
        return _show(error).exit_code
    except KeyboardInterrupt as interrupt:
        _show(DigitnetError(str(interrupt) or "interrupted"))
        return 130


def _launch(arguments: Sequence[str]) -> list[DigitnetError]:
    """Run what the command line asks for; returns how jobs failed, whose messages were shown."""
    from digitnet.compose import launch

    errors = []

    def job(config: "Config", run_dir: Path) -> None:
        from digitnet.experiment import (
            run,
        )  # torch: seconds, which the mistakes found above need not wait for

        try:
            run(config, run_dir)
        except (DigitnetError, OSError) as error:
            # Not raised through Hydra, which would say so in words of its own; a sweep goes on with its next job.
            errors.append(_show(error))

    launch(arguments, job)
    return errors


def _show(error: DigitnetError | OSError) -> DigitnetError:
    """Print the message, and return the error as one of ours: a full disk or a folder without permission too."""
    from digitnet.display import show_error

    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        error = DigitnetError(f"{where}{error.strerror or error}")
    show_error(str(error))
    return error
