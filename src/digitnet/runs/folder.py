"""`RunFolder`: all access to the folder of a run, whether new or old, the user's own or from somebody else."""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from digitnet.atomic import SCRATCH_PREFIX, open_regular
from digitnet.config.schema import Config
from digitnet.errors import TAKEN, CheckpointError, ConfigError, DigitnetError, reason
from digitnet.lock import PATIENCE_SECONDS, is_locked, locked
from digitnet.runs.formats import RunSummary, read_metrics, read_summary, write_metrics, write_summary
from digitnet.training.distributed import current_group
from digitnet.training.record import EpochRecord

RUN_FILES = {"summary.json", "metrics.csv", ".hydra"}  # a folder with one of these is, or was, a run's
SWEEP_FILE = "sweep.json"
HYDRA_FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")
# All that a run writes into its folder but scratch files, in the order of removal: without the last it is no run.
WRITTEN = (
    "metrics.csv", "train.log", "output.txt", "predictions.csv", "confusion.csv", "misclassified.png",
    "confusion.png", "curves.png", "distorted.png", "summary.json",
)  # fmt: skip


class RunFolder:
    """The folder of a run: the paths of its files, its lock, and functions to read and write it.

    `claim` creates the folder of a new run, `open` checks that of an existing one. The constructor does neither: it is
    for code that handles missing and damaged files itself.
    """

    def __init__(self, path: Path, trust: bool = False) -> None:
        self.path, self.trust = path, trust
        self.is_new = False  # from `claim` until training starts
        self._check: Callable[[], None] = lambda: None

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def log_file(self) -> Path:
        return self.path / "train.log"

    def checkpoint_file(self, name: str = "last") -> Path:
        """The path of the checkpoint `last`, `best`, or `epoch_N`."""
        return self.path / "checkpoints" / f"{name}.pt"

    @classmethod
    @contextlib.contextmanager
    def claim(cls, path: Path, hydra_files: Mapping[str, str]) -> Iterator["RunFolder"]:
        """Create the folder of a new run and hold its lock in this block; `hydra_files` are written to its `.hydra/`.

        If the block ends with an error that the user can fix, or is interrupted, while `is_new` is still true, what was
        created is removed: a run that could not start is no run. Under torchrun, rank 0 does this for all processes.
        Raises ConfigError if the folder has a run already,
        CheckpointError if somebody has put links into it, DigitnetError if another process works in it, or if it cannot
        be created.
        """
        folder = cls(path, trust=True)
        if current_group().rank > 0:
            yield folder
            return
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        try:
            try:
                path.mkdir(parents=True, exist_ok=True)
                before = {entry.name for entry in path.iterdir()}
            except OSError as error:
                raise cannot_make(error, "run") from error
            refuse_links(path)
            with folder.locked():
                folder.refuse_taken()
                folder.is_new = True
                try:
                    try:
                        folder.write_hydra_files(hydra_files)
                    except OSError as error:
                        raise cannot_make(error, "run") from error
                    yield folder
                except (DigitnetError, OSError, KeyboardInterrupt):
                    if folder.is_new:
                        folder._remove_new(before)
                    raise
        except (DigitnetError, OSError, KeyboardInterrupt):
            if missing:
                folder.remove_if_empty(missing)
            raise

    def _remove_new(self, before: Collection[str]) -> None:
        """Remove what a run that could not start has written; what was there `before`, by its name, stays."""
        with contextlib.suppress(OSError):
            if ".hydra" not in before:
                self._remove_folder(".hydra", HYDRA_FILES)
            for name in {self.summary_file.name, self.log_file.name, ".lock"} - {*before}:
                (self.path / name).unlink(missing_ok=True)

    def holds_files(self) -> bool:
        """Whether the folder has something that a run has written: it may be any folder of the user."""
        return any((self.path / name).exists() for name in RUN_FILES)

    def remove_files(self) -> None:
        """Remove all that a run writes, but for the lock; files of the user in the folder stay. Raises OSError."""
        self.check()
        self.remove_unfinished()
        for name in WRITTEN:
            (self.path / name).unlink(missing_ok=True)
        self._remove_folder(".hydra", HYDRA_FILES)
        self._remove_folder("checkpoints", [path.name for path in self.checkpoints()])

    def checkpoints(self) -> list[Path]:
        """The checkpoints that there are, of all names that a run gives."""
        names = re.compile(r"(last|best|epoch_\d+)\.pt")
        return sorted(path for path in self.checkpoint_file().parent.glob("*.pt") if names.fullmatch(path.name))

    def _remove_folder(self, name: str, files: Iterable[str]) -> None:
        """Remove these files of a subfolder and, if nothing else is in it, the subfolder. Follows no link."""
        folder = self.path / name
        if folder.is_symlink() or not folder.is_dir():
            return
        for file in files:
            (folder / file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def remove_if_empty(self, folders: Sequence[Path]) -> None:
        """Remove these folders, the run's and others around it, innermost first, if there is nothing but its lock."""
        with contextlib.suppress(OSError):  # what is not empty stays
            if {path.name for path in self.path.iterdir()} == {".lock"} and not self.is_locked():
                (self.path / ".lock").unlink()
            for folder in folders:
                folder.rmdir()

    @classmethod
    def open(cls, path: str | Path, trust: bool = False) -> "RunFolder":
        """Open the folder of a run that has started, from any version of digitnet.

        A folder from somebody else can do no harm: links in it are refused, and the network of a run with model=custom
        is imported only with `trust` (`refuse_untrusted`). Raises ConfigError if there is no run, CheckpointError if
        its summary is damaged or the folder contains anything but files and folders.
        """
        folder = cls(Path(path), trust)
        if folder.path.is_dir():  # before anything in it is opened
            refuse_links(folder.path)
        folder.read_summary_of_run()
        return folder

    @contextlib.contextmanager
    def locked(self, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
        """Hold the folder's lock in this block, see `lock.locked`; under torchrun, only rank 0 does."""
        if current_group().rank > 0:
            yield
            return
        with locked(self.path, patience, self._owner) as check:
            self._check = check
            try:
                yield
            finally:
                self._check = lambda: None

    def check(self) -> None:
        """Raise FileNotFoundError if the folder is no longer the one that was locked."""
        self._check()

    def is_locked(self) -> bool:
        """Whether a process holds the folder's lock."""
        return is_locked(self.path)

    def _owner(self) -> str:
        """The process that holds the lock, for messages: `process 1234 on machine`."""
        try:
            process = self.read_summary().process
            return f"process {process['pid']} on {process['host']}"
        except (OSError, ValueError, KeyError):  # it has not written summary.json yet
            return "another process"

    def refuse_taken(self) -> None:
        """Raise ConfigError if the folder has a run already."""
        if self.summary_file.exists():
            raise ConfigError(f"{self.path}: {TAKEN}")

    def write_hydra_files(self, files: Mapping[str, str]) -> None:
        """Write `.hydra/`, as Hydra does. Raises OSError."""
        folder = self.path / ".hydra"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            with open(folder / name, "w", encoding="utf-8", errors="backslashreplace", opener=open_regular) as file:
                file.write(text)

    def append_to_log(self, text: str) -> None:
        """Append `text` to train.log. Raises OSError."""
        with open(self.log_file, "a", encoding="utf-8", opener=open_regular) as log:
            log.write(text)

    def remove_unfinished(self) -> None:
        """Remove scratch files, which a killed process leaves. Raises OSError."""
        for folder in (self.path, self.path / "checkpoints"):
            for path in folder.glob(f"{SCRATCH_PREFIX}*"):
                path.unlink()

    def read_summary(self) -> RunSummary:
        """Read summary.json. Raises OSError, or ValueError if it is not a run's summary."""
        return read_summary(self.summary_file)

    def read_summary_of_run(self) -> RunSummary:
        """As `read_summary`, but raises ConfigError if there is none, CheckpointError if it is damaged."""
        if not self.path.is_dir():
            if "=" in self.path.name:
                raise ConfigError(
                    f"{self.path}: no such folder; RUN_DIR comes first: digitnet resume RUN_DIR {self.path}"
                )
            raise ConfigError(f"{self.path}: not a folder; give that of a run or of a sweep")
        try:
            return self.read_summary()
        except FileNotFoundError:
            raise ConfigError(f"{self.path}: no summary.json there; {self._what_to_give()}") from None
        except ValueError as error:
            raise CheckpointError(
                f"{self.summary_file}: not a run's summary ({error});\n"
                "restore it; without it, the weights can start a new run: init_from=RUN_DIR"
            ) from error

    def _what_to_give(self) -> str:
        """What to do if the folder has no summary.json."""
        runs = sorted(self.path.glob("*/summary.json")) or sorted(self.path.glob("*/*/summary.json"))
        if runs:
            return f"give one of the runs in it, {runs[-1].parent} for instance"
        if (self.path.parent / "summary.json").exists():
            return f"give {self.path.parent}"
        if (self.path / "checkpoints").is_dir():
            return "restore it; without it, the weights can start a new run: init_from=RUN_DIR"
        if (self.path / ".hydra").is_dir():
            return "it never started training; start it again"
        return "give the folder of a run or of a sweep"

    def write_summary(self, summary: RunSummary) -> None:
        """Replace summary.json, if the folder is still the one that was locked. Raises OSError."""
        self.check()
        write_summary(self.summary_file, summary)

    def write_records(self, records: Sequence[EpochRecord]) -> None:
        """Replace metrics.csv, if the folder is still the one that was locked. Raises OSError."""
        self.check()
        write_metrics(self.metrics_file, records)

    def read_records(self) -> list[EpochRecord]:
        """The records of the finished epochs, from metrics.csv. Raises as `formats.read_metrics`."""
        return read_metrics(self.metrics_file)

    def load_checkpoint(self, name: str = "last") -> dict[str, Any]:
        """A checkpoint's content on the CPU, see `training.checkpoint.load_checkpoint`. Raises CheckpointError."""
        from digitnet.training.checkpoint import load_checkpoint  # torch

        return load_checkpoint(self.checkpoint_file(name))

    def refuse_untrusted(self, config: Config) -> None:
        """Raise ConfigError if `config` names a network of its own to import, and the folder is not trusted."""
        if config.model.name == "custom" and not self.trust:
            raise ConfigError(untrusted(self.path, config.model.target))


def refuse_links(folder: Path) -> None:
    """Raise CheckpointError if something in the folder of a run or sweep that digitnet opens is no file or folder.

    A link in a folder from somebody else could redirect writes to any file of the user; a pipe would block. Subfolders
    of which digitnet knows nothing may have links, and so may .slurm, where submitit leaves one for each job; those of
    a sweep's jobs are checked when the jobs are.
    """
    for top, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(top, name)
            if path.is_symlink():
                raise CheckpointError(f"{path}: a link, which no run creates; replace it by what it points to")
            # A scratch file of a process that works there may have gone meanwhile.
            if os.path.lexists(path) and not (path.is_file() or path.is_dir()):
                raise CheckpointError(f"{path}: neither a file nor a folder; remove it")
        if Path(top) == folder:
            folders[:] = [name for name in folders if name in (".hydra", "checkpoints")]


def untrusted(folder: Path, target: str) -> str:
    """The message about a network that is imported only with --trust."""
    return (
        f"{folder}: its network is {target}, which would be imported and run;\n"
        "if you trust the source of this folder, add --trust"
    )


def cannot_make(error: OSError, kind: str) -> DigitnetError:
    """The error about a folder that cannot be created; `kind` is "run" or "sweep"."""
    return DigitnetError(f"cannot make the run's folder ({reason(error)}); set hydra.{kind}.dir=FOLDER to another")
