"""The exceptions of digitnet: errors that the user can fix.

    DigitnetError            exit 1: the run failed
    ├── ConfigError          exit 2: the command line or the configuration is wrong
    ├── DataError            the data set is damaged, empty or not in the expected format
    │   └── DataMissingError it is not on disk and cannot be downloaded
    ├── CheckpointError      a checkpoint is missing or does not fit
    ├── DivergedError        the loss or a weight is no longer a finite number
    └── DistributedError     another process of the run has ended

The text of each is a message for the user: it names the key, file or value, and what to do. The command line prints
it after `error:`, without a traceback.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from digitnet.text import one_line

TAKEN = "holds a run already, and runs never share a folder; choose another"
SHOWN_FAULTS = 3  # then "and N more": a message has at most four lines


class DigitnetError(Exception):
    """A run failed for a reason that its text explains."""

    exit_code = 1


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a configuration, and where; without a `file`, on the command line."""

    message: str
    key: str = ""  # dotted
    file: Path | None = None
    line: int | None = None  # from 1
    also: tuple[str, ...] = ()  # other keys that are involved

    def __str__(self) -> str:
        """`the message (conf/aug/mine.yaml:3)`."""
        return f"{self.message} ({self.place})" if self.file else self.message

    @property
    def place(self) -> str:
        """`conf/aug/mine.yaml:3`, relative to the working directory if it is below it; "" without a file."""
        if self.file is None:
            return ""
        path = self.file.relative_to(Path.cwd()) if self.file.is_relative_to(Path.cwd()) else self.file
        return f"{path}:{self.line}" if self.line else str(path)


class ConfigError(DigitnetError):
    """The command line or the configuration is wrong. `faults` has all faults, the text the first SHOWN_FAULTS."""

    exit_code = 2

    def __init__(self, faults: str | Fault | Iterable[Fault]) -> None:
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults = [faults] if isinstance(faults, Fault) else list(faults)
        shown = [str(fault) for fault in self.faults]
        if len(shown) > SHOWN_FAULTS:
            shown[SHOWN_FAULTS:] = [f"and {len(shown) - SHOWN_FAULTS} more"]
        super().__init__("\n".join(shown))


class DataError(DigitnetError):
    """The data set is damaged, empty or not in the expected format."""


class DataMissingError(DataError):
    """The data set is not on disk and cannot be downloaded."""


class CheckpointError(DigitnetError):
    """A checkpoint is missing or does not fit."""


class DivergedError(DigitnetError):
    """The loss or a weight is no longer a finite number."""


class DistributedError(DigitnetError):
    """Another process of the run has ended or does not answer, see `training.distributed`."""


def reason(error: OSError) -> str:
    """The error in one line: `file: No space left on device`."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def as_digitnet_error(error: Exception) -> DigitnetError:
    """Convert any exception, such as an OSError or what a user's own network raises, to a DigitnetError."""
    if isinstance(error, DigitnetError):
        return error
    if isinstance(error, OSError):
        return DigitnetError(reason(error))
    text = one_line(error)
    if "OutOfMemory" in text:
        return DigitnetError(f"{text}\nlower trainer.batch_size")
    return DigitnetError(f"{text}\nHYDRA_FULL_ERROR=1 shows where")
