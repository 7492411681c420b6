"""All jobs of a sweep, on whatever launcher: begun, watched, stopped, and what is said of them."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from digitnet.config.schema import Config, LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig, run_length
from digitnet.errors import DigitnetError
from digitnet.lock import locked
from digitnet.report import comparison
from digitnet.report.terminal import JobRow, SweepView
from digitnet.runs.formats import RunSummary, write_summary
from digitnet.runs.reader import find_runs
from digitnet.signals import Stop, handling_signals
from digitnet.sweep import capacity
from digitnet.sweep.manifest import Sweep
from digitnet.text import duration, plural, short_path

POLL_SECONDS = 0.25


class Launcher(Protocol):
    """Where jobs run. Each does `work` in a process of its own; whatever ends one of these leaves the others alone."""

    def submit(self, names: list[str]) -> None:
        """Have them run when there is room. Raises DigitnetError where nothing can run at all."""

    def poll(self, seconds: float) -> dict[str, str | None]:
        """Wait so long at most, or until one has ended; which have since the last call, and why they failed."""

    def stop(self, names: list[str] | None = None) -> list[str]:
        """Ask these to write a checkpoint and end, by default all; returns those that had not begun, and will not."""

    def close(self) -> None:
        """End what is still there, at once."""


class Scheduler:
    """Called with names of jobs, has them done.

    `failures` says why some have nothing better to say for themselves; `pruned` are those that need not be finished.
    """

    def __init__(self, sweep: Sweep, launcher: Launcher, view: SweepView, stop: Stop) -> None:
        self.sweep, self.launcher, self.stop = sweep, launcher, stop
        self.failures: dict[str, str] = {}
        self.pruned: set[str] = set()
        self.view = view
        self._seen: dict[str, tuple[int, RunSummary | None]] = {}
        self._ended: dict[str, int] = {}
        self._seconds: list[float] = []  # of each that finished

    def __call__(self, names: list[str], more: Callable[[list[str]], list[str]] = lambda _: []) -> list[float | None]:
        """Do these jobs, until all have ended or, after a signal, those that had begun.

        `more` is told several times a second which are under way, and returns more of them. Returns the last validation
        accuracy of each of `names`, None of one that is not finished. Raises DigitnetError where nothing can run,
        KeyboardInterrupt if there was a signal before.
        """
        self.stop.obey()
        todo: list[str] = []
        new, stopped = [*names, *more(list(names))], False
        while new or todo:
            self.launcher.submit(new)
            todo += new
            for name, why in self.launcher.poll(POLL_SECONDS).items():
                todo.remove(name)
                self._end(name, why)
            if self.stop.wanted is not None and not stopped:
                stopped = True
                self.view.line(f"{self.stop.wanted}: each job under way writes a checkpoint and ends")
                dropped = self.launcher.stop()
                todo = [name for name in todo if name not in dropped]
            self._show(todo)
            new = [] if stopped else more(todo)
        found = [self.summary(name) for name in names]
        return [one.final["val_acc"] if one and one.final and one.status == "finished" else None for one in found]

    def summary(self, name: str) -> RunSummary | None:
        """What the job's folder says of it, read when it has changed."""
        try:
            changed = (self.sweep.folder / name / "summary.json").stat().st_mtime_ns
        except OSError:
            return None
        if self._seen.get(name, (0, None))[0] != changed:
            self._seen[name] = changed, self.sweep.summary(name)
        return self._seen[name][1]

    def _end(self, name: str, why: str | None) -> None:
        summary = self.summary(name)
        status = summary.status if summary is not None else "failed"
        meant = self.stop.wanted is not None or name in self.pruned
        if why is not None and status not in ("finished", "diverged", "interrupted" if meant else ""):
            self.failures[name] = why
            if summary is not None and status == "running":  # its process could not write it down any more
                _bury(self.sweep.folder / name, summary, why)
        if summary is None and self.stop.wanted is not None:  # it had not begun
            return
        if name in self.failures:
            status = "failed"
        elif status == "interrupted" and name in self.pruned:  # not one that had just finished
            status = "pruned"
        self._ended[status] = self._ended.get(status, 0) + 1
        if status == "finished" and summary is not None and summary.final is not None:
            self._seconds.append(summary.seconds)
            self.view.line(f"{name}: {100 * summary.final['val_acc']:.2f} %, {duration(summary.seconds)}")
        elif status == "pruned" and summary is not None:
            self.view.line(f"{name}: pruned after epoch {summary.epochs}")
        else:
            error = self.failures.get(name) or (summary.error if summary else None) or ""
            self.view.line(f"{name}: {comparison.how_ended(status, error)}", "red")

    def _show(self, todo: list[str]) -> None:
        rows = [row for name in todo if (row := self._row(name)) is not None]
        counts = {**self._ended, "running": len(rows), "waiting": len(todo) - len(rows)}
        below = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        whole = self._seconds or [row.seconds for row in rows if row.seconds is not None]
        if whole:
            each = sum(whole) / len(whole)
            left = sum(each if row.left is None else row.left for row in rows) + each * counts["waiting"]
            below += f"; {duration(left / max(1, len(rows)))} left"
        self.view.update(rows, below)

    def _row(self, name: str) -> JobRow | None:
        summary = self.summary(name)
        if summary is None or summary.status != "running":
            return None
        epochs = run_length(Config.model_validate(summary.config))
        seconds = summary.seconds * epochs / summary.epochs if summary.epochs else None
        return JobRow(name, summary.epochs, epochs, (summary.final or {}).get("val_acc"), seconds)


def _bury(folder: Path, summary: RunSummary, why: str) -> None:
    with contextlib.suppress(DigitnetError, OSError), locked(folder) as check:
        check()
        summary.status, summary.error = "failed", why
        write_summary(folder / "summary.json", summary)


@contextlib.contextmanager
def scheduling(sweep: Sweep, trust: bool) -> Iterator[Scheduler]:
    """Do jobs of the sweep in this block; at its end comes the table of all.

    The caller has the sweep's folder locked. Raises DigitnetError at the end if a job failed, KeyboardInterrupt if a
    signal came.
    """
    view = SweepView()
    with handling_signals() as stop:
        try:
            with contextlib.closing(_launcher(sweep, trust)) as launcher, view.live(), stop.deferred():
                drive = Scheduler(sweep, launcher, view, stop)
                yield drive
        except KeyboardInterrupt as interrupt:
            stop.end()
            view.line()
            _finish(sweep, drive, view)
            again = f"to go on: {_resume(sweep)}"
            raise KeyboardInterrupt(f"{interrupt}; {again}") from None
        if failed := _finish(sweep, drive, view):
            again = "" if {*failed} == {"diverged"} else f"; to try again: {_resume(sweep)}"  # they would once more
            raise DigitnetError(f"{plural(len(failed), 'job')} of {len(sweep.jobs)} failed{again}")


def _resume(sweep: Sweep) -> str:
    return f"digitnet resume {shlex.quote(str(short_path(sweep.folder)))}"


def _launcher(sweep: Sweep, trust: bool) -> Launcher:
    """Raises DigitnetError where it is not to be had."""
    match sweep.launcher:
        case LocalLauncherConfig():
            from digitnet.sweep.launchers.local import LocalLauncher

            on_gpus = not sweep.jobs or any(
                job.config["device"]["name"] in ("auto", "cuda") for job in sweep.jobs.values()
            )
            return LocalLauncher(sweep.folder, sweep.launcher, capacity.slots(sweep.launcher, on_gpus), trust)
        case RayLauncherConfig():
            from digitnet.sweep.launchers.ray import RayLauncher

            return RayLauncher(sweep.folder, sweep.launcher, trust)
        case SlurmLauncherConfig():
            from digitnet.sweep.launchers.slurm import SlurmLauncher

            return SlurmLauncher(sweep.folder, sweep.launcher, trust)


def _finish(sweep: Sweep, drive: Scheduler, view: SweepView) -> list[str]:
    """The table of all jobs, best first; returns how each of those ended that did not finish."""
    if not sweep.jobs:
        return []
    failures = {sweep.folder / name: why for name, why in drive.failures.items()}
    runs = find_runs([sweep.folder], failures)
    view.line()
    comparison.show_comparison(comparison.tabulate(runs))
    good = {sweep.folder / name for name in drive.pruned}
    return [run.status for run in runs if run.status not in ("finished", "waiting") and run.folder not in good]
