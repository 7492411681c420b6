"""Runs one job of a sweep, in a process on any machine."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from digitnet.atomic import open_regular, read_regular
from digitnet.config.check import check
from digitnet.config.schema import Config
from digitnet.errors import ConfigError, DigitnetError, as_digitnet_error, reason
from digitnet.runs.folder import SWEEP_FILE, RunFolder, refuse_links
from digitnet.sweep.manifest import Job, read_manifest

PATIENCE_SECONDS = 30.0  # if its sweep was just killed, the job's previous process may still be writing a checkpoint
FAILURES = ".failures"  # in the sweep's folder: a file for each job that failed, named like it, with the reason


def run_job(folder: Path, name: str, trust: bool, output: bool = False) -> str | None:
    """Start or resume the job `name` of the sweep in `folder`; returns why it failed, or None.

    With `trust`, it may download data and import the network that its configuration names; with `output`, what it
    prints is appended to output.txt in its folder. Raises KeyboardInterrupt when interrupted, after writing a
    checkpoint.
    """
    try:
        job = read_manifest(folder).jobs[name]
        run_folder = RunFolder(folder / name, trust)
        try:
            run_folder.path.mkdir(exist_ok=True)  # somebody may have removed it
        except OSError as error:
            raise DigitnetError(f"cannot make the run's folder ({reason(error)})") from error
        refuse_links(run_folder.path)
        with _output_in(run_folder.path) if output else contextlib.nullcontext():
            if run_folder.summary_file.exists():
                from digitnet.experiment.resume import resume_run

                resume_run(run_folder.path, trust=trust, quiet=True, patience=PATIENCE_SECONDS)
            else:
                from digitnet.experiment.run import run_experiment

                with run_folder.locked(PATIENCE_SECONDS):
                    config = _config_of(job, folder)
                    run_experiment(config, run_folder, job.command, quiet=True, download=trust)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            import traceback

            traceback.print_exc()
        return str(as_digitnet_error(error))
    return None


def _config_of(job: Job, folder: Path) -> Config:
    """Parse the job's configuration. Raises ConfigError."""
    try:
        return check(job.config)
    except ConfigError as error:
        raise ConfigError(f"{folder / SWEEP_FILE}: {error}") from error


def run_recorded(folder: Path, name: str, trust: bool, output: bool = False) -> None:
    """As `run_job`, but the reason of a failure is left in a file: a pipe holds only so much, and ends with a process.

    Raises OSError if the file cannot be written, KeyboardInterrupt as `run_job` does.
    """
    forget_failure(folder, name)
    if (failure := run_job(folder, name, trust, output)) is not None:
        path = folder / FAILURES / name
        path.parent.mkdir(exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="backslashreplace", opener=open_regular) as file:
            file.write(failure)


def read_failure(folder: Path, name: str) -> str | None:
    """The reason that `run_recorded` left, None if there is none."""
    try:
        return read_regular(folder / FAILURES / name).decode()
    except (OSError, ValueError):
        return None


def forget_failure(folder: Path, name: str) -> None:
    """Remove the reason of an earlier failure."""
    with contextlib.suppress(OSError):
        (folder / FAILURES / name).unlink()


@contextlib.contextmanager
def _output_in(run_dir: Path) -> Iterator[None]:
    """In this block, append what this process prints to output.txt, which is removed if it is empty then."""
    path = run_dir / "output.txt"
    with open(path, "ab", opener=open_regular) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if path.stat().st_size == 0:
            path.unlink()
