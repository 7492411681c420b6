"""Runs the jobs of a sweep on a launcher: submits and watches them, shows their progress, stops them on a signal."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Callable, Iterator

from digitnet.config.rules import parse_config, run_length
from digitnet.errors import DigitnetError
from digitnet.report.comparison import tabulate
from digitnet.report.tables import show_comparison, status_and_reason
from digitnet.report.terminal import JobRow, SweepView
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import RunSummary
from digitnet.runs.reader import find_runs
from digitnet.signals import Stop, handling_signals
from digitnet.sweep.launchers import make_launcher
from digitnet.sweep.launchers.launcher import Launcher
from digitnet.sweep.manifest import Sweep
from digitnet.text import duration, plural, short_path

POLL_SECONDS = 0.25


class Scheduler:
    """Runs jobs of a sweep.

    `failures` has the reasons of failed jobs that are not in their summaries; `pruned` has jobs that were stopped on
    purpose, which is not a failure.
    """

    def __init__(self, sweep: Sweep, launcher: Launcher, view: SweepView, stop: Stop) -> None:
        self.sweep, self.launcher, self.view, self.stop = sweep, launcher, view, stop
        self.failures: dict[str, str] = {}
        self.pruned: set[str] = set()
        self._summaries: dict[str, tuple[int, RunSummary | None]] = {}  # with the files' modification times
        self._ended: Counter[str] = Counter()  # jobs by status
        self._seconds: list[float] = []  # of each finished job

    def run(self, names: list[str], next_jobs: Callable[[list[str]], list[str]] = lambda _: []) -> list[float | None]:
        """Run the jobs `names` until all have ended; after a signal, until those that had started have ended.

        `next_jobs` is called several times a second with the jobs that have not ended, and returns more jobs to run.
        Returns the last validation accuracy (a fraction) of each of `names`, None if it did not finish. Raises
        DigitnetError if no job can run, KeyboardInterrupt if a signal has been received before the call.
        """
        self.stop.raise_if_received()
        unfinished: list[str] = []
        new, stopped = [*names, *next_jobs(list(names))], False
        while new or unfinished:
            self.launcher.submit(new)
            unfinished += new
            for name, failure in self.launcher.poll(POLL_SECONDS).items():
                unfinished.remove(name)
                self._job_ended(name, failure)
            if self.stop.received is not None and not stopped:
                stopped = True
                self.view.line(f"{self.stop.received}: each running job writes a checkpoint and ends")
                dropped = self.launcher.stop()
                unfinished = [name for name in unfinished if name not in dropped]
            self._update_view(unfinished)
            new = [] if stopped else next_jobs(unfinished)
        summaries = [self.summary(name) for name in names]
        return [one.final["val_acc"] if one and one.final and one.status == "finished" else None for one in summaries]

    def summary(self, name: str) -> RunSummary | None:
        """The job's summary.json, read again only when it has changed; None if there is none."""
        try:
            changed = self.sweep.run_folder(name).summary_file.stat().st_mtime_ns
        except OSError:
            return None
        if self._summaries.get(name, (0, None))[0] != changed:
            self._summaries[name] = changed, self.sweep.summary(name)
        return self._summaries[name][1]

    def _job_ended(self, name: str, failure: str | None) -> None:
        """Count a job that has ended, and print its result; `failure` is the launcher's reason if it failed."""
        summary = self.summary(name)
        status = summary.status if summary is not None else "failed"
        was_stopped = self.stop.received is not None or name in self.pruned
        if failure is not None and status not in ("finished", "diverged", "interrupted" if was_stopped else ""):
            self.failures[name] = failure
            if summary is not None and status == "running":  # its process was killed, and could not write it
                _mark_failed(self.sweep.run_folder(name), summary, failure)
        if summary is None and self.stop.received is not None:  # it had not started
            return
        if name in self.failures:
            status = "failed"
        elif status == "interrupted" and name in self.pruned:  # not if it finished just before it was stopped
            status = "pruned"
        self._ended[status] += 1
        self._print_result(name, status, summary)

    def _print_result(self, name: str, status: str, summary: RunSummary | None) -> None:
        if status == "finished" and summary is not None and summary.final is not None:
            self._seconds.append(summary.seconds)
            self.view.line(f"{name}: {100 * summary.final['val_acc']:.2f} %, {duration(summary.seconds)}")
        elif status == "pruned" and summary is not None:
            self.view.line(f"{name}: pruned after epoch {summary.epochs}")
        else:
            error = self.failures.get(name) or (summary.error if summary else None) or ""
            self.view.line(f"{name}: {status_and_reason(status, error)}", "red")

    def _update_view(self, unfinished: list[str]) -> None:
        """Show the running jobs, how many jobs are in which state, and an estimate of the time left."""
        rows = [row for name in unfinished if (row := self._job_row(name)) is not None]
        waiting = len(unfinished) - len(rows)
        counts = {**self._ended, "running": len(rows), "waiting": waiting}
        line = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        job_seconds = self._seconds or [row.seconds for row in rows if row.seconds is not None]
        if job_seconds:
            mean = sum(job_seconds) / len(job_seconds)
            left = sum(mean if row.left is None else row.left for row in rows) + mean * waiting
            line += f"; {duration(left / max(1, len(rows)))} left"
        self.view.update(rows, line)

    def _job_row(self, name: str) -> JobRow | None:
        summary = self.summary(name)
        if summary is None or summary.status != "running":
            return None
        epochs = run_length(parse_config(summary.config))
        seconds = summary.seconds * epochs / summary.epochs if summary.epochs else None
        return JobRow(name, summary.epochs, epochs, (summary.final or {}).get("val_acc"), seconds)


def _mark_failed(folder: RunFolder, summary: RunSummary, failure: str) -> None:
    """Write the failure into the job's summary, unless another process works in its folder."""
    with contextlib.suppress(DigitnetError, OSError), folder.locked():
        summary.status, summary.error = "failed", failure
        folder.write_summary(summary)


@contextlib.contextmanager
def scheduling(sweep: Sweep, trust: bool) -> Iterator[Scheduler]:
    """Yield a scheduler for jobs of the sweep; at the end of the block, print the table of all jobs.

    The caller must hold the lock of the sweep's folder. At the end of the block, raises DigitnetError if a job failed,
    KeyboardInterrupt if a signal came.
    """
    view = SweepView()
    with handling_signals() as stop:
        try:
            with contextlib.closing(make_launcher(sweep, trust)) as launcher, view.live(), stop.deferred():
                scheduler = Scheduler(sweep, launcher, view, stop)
                yield scheduler
        except KeyboardInterrupt as interrupt:
            stop.ignore_signals()
            view.line()
            _show_results(scheduler)
            raise KeyboardInterrupt(f"{interrupt}; to resume: {_resume_command(sweep)}") from None
        if failed := _show_results(scheduler):
            # A job that diverged would diverge again.
            again = "" if {*failed} == {"diverged"} else f"; to try again: {_resume_command(sweep)}"
            raise DigitnetError(f"{plural(len(failed), 'job')} of {len(sweep.jobs)} failed{again}")


def _resume_command(sweep: Sweep) -> str:
    return f"digitnet resume {shlex.quote(str(short_path(sweep.folder)))}"


def _show_results(scheduler: Scheduler) -> list[str]:
    """Print the table of all jobs, best first; returns the status of each job that failed."""
    sweep = scheduler.sweep
    if not sweep.jobs:
        return []
    runs = find_runs([sweep.folder], {sweep.folder / name: failure for name, failure in scheduler.failures.items()})
    scheduler.view.line()
    show_comparison(tabulate(runs))
    pruned = {sweep.folder / name for name in scheduler.pruned}
    return [run.status for run in runs if run.status not in ("finished", "waiting") and run.folder not in pruned]
