"""What can go wrong in a way that a user can mend.

    DigitnetError            exit 1: the run failed
    ├── ConfigError          exit 2: the command line or the configuration is wrong
    ├── DataError            the data set is damaged, empty or not what it says
    │   └── DataMissingError it is neither on disk nor to be downloaded
    ├── CheckpointError      a checkpoint is missing or does not fit
    └── DivergedError        the loss is no longer a number

The text of each is a message for the user: it names the key, file or value, and what to do. The command line prints
it behind `error:`, without a traceback.
"""


class DigitnetError(Exception):
    """A run failed for a reason that its text explains."""

    exit_code = 1


class ConfigError(DigitnetError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class DataError(DigitnetError):
    """The data set is damaged, empty or not what it says."""


class DataMissingError(DataError):
    """The data set is neither on disk nor to be downloaded."""


class CheckpointError(DigitnetError):
    """A checkpoint is missing or does not fit."""


class DivergedError(DigitnetError):
    """The loss is no longer a number."""


def one_line(error: BaseException) -> str:
    """`ValueError: what it says first`, for the errors of others: a message has four lines at most."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
