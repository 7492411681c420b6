"""Runs the jobs of a sweep on a launcher: submits and watches them, shows their progress, stops them on a signal."""

import contextlib
import shlex
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from digitnet.config.rules import parse_config, run_length
from digitnet.errors import DigitnetError
from digitnet.report.comparison import keys_but_seed, tabulate
from digitnet.report.tables import show_comparison, status_and_reason
from digitnet.report.terminal import JobRow, SweepView
from digitnet.runs.formats import RunSummary
from digitnet.runs.reader import find_runs
from digitnet.signals import Stop, handling_signals
from digitnet.sweep.capacity import on_gpus
from digitnet.sweep.launchers import make_launcher
from digitnet.sweep.launchers.launcher import Launcher
from digitnet.sweep.manifest import Job, Sweep
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
        self._summaries: dict[str, tuple[tuple[int, ...], RunSummary | None]] = {}  # with what tells their files apart
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
            if self.stop.received is None:  # otherwise no job is to begin
                self.launcher.submit(new)
                unfinished += new
            for name, failure in self.launcher.poll(POLL_SECONDS).items():
                unfinished.remove(name)
                self._job_ended(name, failure)
            if self.stop.received is not None and not stopped:
                stopped = True
                self.view.line("Stopping: saving each running job …")
                dropped = self.launcher.stop()
                unfinished = [name for name in unfinished if name not in dropped]
            self._update_view(unfinished)
            new = [] if stopped else next_jobs(unfinished)
        summaries = [self.summary(name) for name in names]
        return [one.final["val_acc"] if one and one.final and one.status == "finished" else None for one in summaries]

    def summary(self, name: str) -> RunSummary | None:
        """The job's summary.json, read again only when it has changed; None if there is none."""
        try:
            stat = self.sweep.run_folder(name).summary_file.stat()
        except OSError:
            return None
        # Two files that replace each other within the clock's grain differ at least in their numbers.
        version = stat.st_mtime_ns, stat.st_ino, stat.st_size
        if name not in self._summaries or self._summaries[name][0] != version:
            self._summaries[name] = version, self.sweep.summary(name)
        return self._summaries[name][1]

    def _job_ended(self, name: str, failure: str | None) -> None:
        """Count a job that has ended, and print its result; `failure` is the launcher's reason if it failed."""
        self._summaries.pop(name, None)  # a network file system may show the previous one for some seconds
        summary = self.summary(name)
        status = summary.status if summary is not None else "failed"
        was_stopped = self.stop.received is not None or name in self.pruned
        if failure is not None and status not in ("finished", "diverged", "interrupted" if was_stopped else ""):
            self.failures[name] = failure
            self._mark_failed(name, failure)
        if summary is None and self.stop.received is not None:  # it had not started
            return
        if name in self.failures:
            status = "failed"
        elif status == "interrupted" and name in self.pruned:  # not if it finished just before it was stopped
            status = "pruned"
        self._ended[status] += 1
        self._print_result(name, status, summary)

    def mark_killed(self, name: str) -> None:
        """Note that the job was killed because it did not end soon enough when it was asked to."""
        self._mark_failed(name, "killed when its sweep ended")

    def _mark_failed(self, name: str, failure: str) -> None:
        """Write the failure into the summary of a job whose process could not, unless another works in its folder."""
        folder = self.sweep.run_folder(name)
        with contextlib.suppress(DigitnetError, OSError, ValueError):
            if (summary := folder.read_summary()).status == "running":
                with folder.locked():
                    summary.status, summary.error = "failed", failure
                    folder.write_summary(summary)

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
        epochs = epochs_of(summary)
        if epochs is None:
            return None
        seconds = summary.seconds * epochs / summary.epochs if summary.epochs else None
        written = self._summaries[name][0][0] / 1e9  # by the clock of the file system
        elapsed = summary.seconds + max(0.0, time.time() - written)
        return JobRow(name, summary.epochs, epochs, (summary.final or {}).get("val_acc"), seconds, elapsed)


def epochs_of(summary: RunSummary) -> int | None:
    """How many epochs a job has to do; None if its summary is of another version, or damaged: it will say so itself."""
    try:
        return run_length(parse_config(summary.config))
    except ValueError:
        return None


@contextlib.contextmanager
def scheduling(sweep: Sweep, trust: bool, jobs: Collection[Job] = ()) -> Iterator[Scheduler]:
    """Yield a scheduler for jobs of the sweep; at the end of the block, print the table of all jobs.

    `jobs` are those that will run, or some that use the same devices. The caller must hold the lock of the sweep's
    folder. At the end of the block, raises DigitnetError if a job failed, KeyboardInterrupt if a signal came.
    """
    view = SweepView()
    with handling_signals() as stop:
        scheduler: Scheduler | None = None
        try:
            launcher = make_launcher(sweep, trust, on_gpus(jobs))
            scheduler = Scheduler(sweep, launcher, view, stop)
            if jobs:
                view.line(_introduction(sweep, jobs))
            try:
                with view.live(), stop.deferred():
                    yield scheduler
            finally:
                for name in launcher.close():
                    scheduler.mark_killed(name)
        except KeyboardInterrupt as interrupt:
            stop.ignore_signals()
            view.line()
            if scheduler is not None:
                _show_results(scheduler)
            raise KeyboardInterrupt(f"{interrupt}. Continue with:\n{_resume_command(sweep)}") from None
        assert scheduler is not None
        if failed := _show_results(scheduler):
            # A job that diverged would diverge again.
            again = "" if {*failed} == {"diverged"} else f"; to try again: {_resume_command(sweep)}"
            raise DigitnetError(f"{plural(len(failed), 'job')} of {len(sweep.jobs)} failed{again}")


def _introduction(sweep: Sweep, jobs: Collection[Job]) -> str:
    """`sweep: 4 jobs, model lenet5, data digits; outputs/sweeps/…`; of a search not every job is known."""

    def names(group: str) -> str:
        return ", ".join(dict.fromkeys(str(job.config.get(group, {}).get("name")) for job in jobs))

    what = f"sweep: {plural(len(jobs), 'job')}" if sweep.search is None else f"search: {sweep.search.trials} trials"
    return f"{what}, model {names('model')}, data {names('data')}; {short_path(sweep.folder)}"


def _resume_command(sweep: Sweep) -> str:
    imports = any(job.config.get("model", {}).get("name") == "custom" for job in sweep.jobs.values())
    return f"digitnet resume {shlex.quote(str(short_path(sweep.folder)))}{' --trust' if imports else ''}"


def _show_results(scheduler: Scheduler) -> list[str]:
    """Print the table of all jobs, best first; returns the status of each job that failed."""
    sweep = scheduler.sweep
    if not sweep.jobs:
        return []
    runs = find_runs([sweep.folder], {sweep.folder / name: failure for name, failure in scheduler.failures.items()})
    scheduler.view.line()
    show_comparison(tabulate(runs))
    if keys := keys_but_seed([run for run in runs if run.status == "finished"]):
        scheduler.view.line()
        show_comparison(tabulate(runs, keys), reasons=False)
    pruned = {sweep.folder / name for name in scheduler.pruned}
    return [
        run.status for run in runs if run.status not in ("finished", "waiting", "debug") and run.folder not in pruned
    ]
