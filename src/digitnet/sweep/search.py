"""Searches for the best values with Optuna, which proposes trials (jobs of a sweep) and prunes weak ones."""

import contextlib
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from digitnet.atomic import read_regular
from digitnet.config.dimension import Dimension
from digitnet.errors import ConfigError, DigitnetError
from digitnet.runs.formats import RunSummary
from digitnet.sweep.manifest import Job, Search, Sweep
from digitnet.sweep.scheduler import Scheduler, epochs_of
from digitnet.text import one_line

JOURNAL_FILE = "optuna.log"  # in the sweep's folder: Optuna's storage, which optuna-dashboard reads too
STARTUP_TRIALS = 5  # the first trials, which have random values and are never pruned
PROPOSALS_PER_TRIAL = 10  # at most: a proposal may repeat a trial, or not compose
WARMUP_EPOCHS = 3  # LeNet-5 starts with a plateau, during which accuracies do not predict the result


class Trials:
    """Connects a `Scheduler` to an Optuna study: proposes jobs, reports their epochs and results, and prunes them.

    A trial's number is the number in its job's name. The trial of a job that failed stays RUNNING in the study, so that
    a resumed search runs it again. `make_job(number, overrides)` composes the job of a trial and writes it to
    sweep.json; it raises ConfigError if the overrides do not compose.
    """

    def __init__(
        self, sweep: Sweep, scheduler: Scheduler, at_once: int, make_job: Callable[[int, list[str]], Job]
    ) -> None:
        assert sweep.search is not None
        self._sweep, self._scheduler, self._at_once, self._make_job = sweep, scheduler, at_once, make_job
        self._search: Search = sweep.search
        self._study = open_study(sweep)
        self._running: dict[str, Any] = {}  # Optuna's trials, by the names of their jobs
        self._reported: dict[str, int] = {}  # the last epoch that was reported to Optuna
        self._rejected: list[list[str]] = []  # overrides that do not compose

    @property
    def end_reason(self) -> str | None:
        """Why no more trials are proposed; None if more are."""
        tried, proposed = len(self._sweep.jobs), len(self._study.get_trials(deepcopy=False))
        if tried + len(self._rejected) >= math.prod(dimension.size for dimension in self._search.space.values()):
            return "all combinations were tried"
        enough = tried >= self._search.trials or proposed >= PROPOSALS_PER_TRIAL * self._search.trials
        return "finished" if enough else None

    def unfinished_jobs(self) -> list[str]:
        """The jobs of a resumed search that were running when it was stopped, or that failed."""
        import optuna

        names = {_trial_number(name): name for name in self._sweep.jobs}
        for frozen in self._study.get_trials(deepcopy=False):
            name = names.get(frozen.number)
            if not frozen.state.is_finished():
                self._seed_sampler(frozen.number)
                trial = optuna.Trial(self._study, frozen._trial_id)
                if name is None:  # the search was killed before the job was written to sweep.json
                    self._propose(trial)
                else:
                    self._running[name], self._reported[name] = trial, frozen.last_step or 0
            elif name is not None:
                self._scheduler.pruned.add(name)
        return list(self._running)

    def next_jobs(self, unfinished: list[str]) -> list[str]:
        """Tell Optuna about new epochs and results, prune, and propose new jobs; see `Scheduler.run`."""
        for name, trial in list(self._running.items()):
            summary = self._scheduler.summary(name)
            if summary is not None and summary.epochs > self._reported[name] and name not in self._scheduler.pruned:
                self._report_epochs(name, trial)
                if self._is_weak(name, trial, summary):
                    self._scheduler.pruned.add(name)
                    self._scheduler.launcher.stop([name])
            if name not in unfinished:
                del self._running[name]
                self._tell_result(name, trial, summary)
        before = set(self._running)
        while len(self._running) < self._at_once and not self.end_reason:
            self._seed_sampler(len(self._study.get_trials(deepcopy=False)))
            self._propose(self._study.ask())
        return [name for name in self._running if name not in before]

    def _seed_sampler(self, number: int) -> None:
        """Seed the sampler by the trial's number: a resumed search proposes what it would have proposed."""
        import optuna

        if number and self._study.get_trials(deepcopy=False)[number - 1].state == optuna.trial.TrialState.FAIL:
            # The previous proposal repeated a trial, and TPE would repeat it again where there are few values.
            self._study.sampler = optuna.samplers.RandomSampler(seed=number)
            return
        with warnings.catch_warnings(action="ignore"):  # older versions call constant_liar experimental
            # The constant liar keeps proposals away from those of running trials.
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=number
            )

    def _propose(self, trial: Any) -> None:
        """Ask Optuna for values, and make a job with them; reject values that were tried or do not compose."""
        values = {key: _suggest_value(trial, key, dimension) for key, dimension in self._search.space.items()}
        overrides = [*self._search.fixed, *(f"{key}={value}" for key, value in values.items())]
        if overrides in [*self._rejected, *(job.overrides for job in self._sweep.jobs.values())]:
            self._tell(trial, None, "FAIL")
            return
        try:
            job = self._make_job(trial.number, overrides)
        except ConfigError as error:
            self._rejected.append(overrides)
            self._scheduler.view.warning(f"{trial.number}: not tried: {error}")
            self._tell(trial, None, "FAIL")
            return
        self._running[job.name], self._reported[job.name] = trial, 0

    def _report_epochs(self, name: str, trial: Any) -> None:
        """Report the validation accuracies of new epochs to Optuna."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # the job itself reports a damaged file
            for record in self._sweep.run_folder(name).read_records()[self._reported[name] :]:
                trial.report(record.val_acc, record.epoch)
                self._reported[name] = record.epoch

    def _is_weak(self, name: str, trial: Any, summary: RunSummary) -> bool:
        """Whether to prune a job: it is running, has more epochs to do, and falls behind."""
        if not self._search.prune or summary.status != "running" or not self._sweep.run_folder(name).is_locked():
            return False  # unlocked: it was running when the search was stopped, and has not been resumed yet
        epochs = epochs_of(summary)
        return epochs is not None and summary.epochs < epochs and bool(trial.should_prune())

    def _tell_result(self, name: str, trial: Any, summary: RunSummary | None) -> None:
        """Tell Optuna the result of a trial whose job has ended."""
        status = summary.status if summary is not None else "failed"
        if status == "finished" and summary is not None and summary.final is not None:
            self._tell(trial, summary.final["val_acc"], None)
        elif status == "diverged":
            self._tell(trial, 0.0, None)  # worse than chance, so that nearby values are avoided
            self._scheduler.pruned.add(name)
        elif name in self._scheduler.pruned and summary is not None:
            summary.error = f"pruned after epoch {summary.epochs}: behind the median of the trials before"
            self._sweep.run_folder(name).write_summary(summary)
            self._scheduler.failures.pop(name, None)  # Slurm reports a pruned job as cancelled, which is no failure
            self._tell(trial, None, "PRUNED")

    def _tell(self, trial: Any, value: float | None, state: str | None) -> None:
        import optuna

        self._study.tell(trial, value, state=optuna.trial.TrialState[state] if state else None)


def best_trial(sweep: Sweep) -> tuple[Job, float] | None:
    """The finished job with the highest validation accuracy, and that accuracy; None if none has finished.

    Of equal ones, the job with the lowest validation loss, as in the sweep's table.
    """
    finished: dict[tuple[float, float], Job] = {}
    for job in sweep.jobs.values():
        summary = sweep.summary(job.name)
        if summary is not None and summary.status == "finished" and summary.final is not None:
            finished.setdefault((summary.final["val_acc"], -summary.final["val_loss"]), job)
    return (finished[max(finished)], max(finished)[0]) if finished else None


def check_optuna_installed() -> None:
    """Raises ConfigError if Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("digitnet tune: Optuna is not installed; pip install 'digitnet[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(sweep: Sweep) -> Any:
    """Open Optuna's study in the sweep's folder, or create it. Raises DigitnetError if its file is damaged."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = sweep.folder / JOURNAL_FILE
    try:
        _truncate_partial_line(path)
        no_lock: Any = _NoLock()
        storage = JournalStorage(JournalFileBackend(str(path), no_lock))
        study = optuna.create_study(study_name="digitnet", storage=storage, direction="maximize", load_if_exists=True)
        numbers = {trial.number for trial in study.trials}
        if missing := [name for name in sweep.jobs if _trial_number(name) not in numbers]:
            raise ValueError(f"{missing[0]} is not in it")
    except OSError:
        raise
    except Exception as error:  # a damaged file can lead to any
        raise DigitnetError(
            f"{path}: not the journal of this search ({one_line(error)});\nrestore it, or start a new search"
        ) from error
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    return study


def _trial_number(job_name: str) -> int:
    return int(job_name.partition(",")[0])


def _suggest_value(trial: Any, key: str, dimension: Dimension) -> str:
    low, high = dimension.low, dimension.high
    if dimension.choices is not None:
        return str(trial.suggest_categorical(key, dimension.choices))
    if dimension.whole:
        return str(trial.suggest_int(key, int(low), int(high), log=dimension.log))
    value = trial.suggest_float(key, low, high, log=dimension.log)
    return str(min(max(float(f"{value:.4g}"), low), high))  # four digits, to be readable


def _truncate_partial_line(path: Path) -> None:
    """Remove an incomplete last line, which a full disk leaves: Optuna would append the next line to it."""
    if path.exists():
        content = read_regular(path)
        os.truncate(path, content.rfind(b"\n") + 1)


class _NoLock:
    """Replaces Optuna's lock, which would remain if the search is killed; the sweep's folder is locked anyway."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
