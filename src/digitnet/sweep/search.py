"""A search for the best values: Optuna proposes trials, which are jobs of a sweep, and says which fall behind."""

import contextlib
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from digitnet.config.schema import Config, run_length
from digitnet.errors import ConfigError, DigitnetError
from digitnet.lock import is_locked
from digitnet.runs.formats import RunSummary, read_metrics, write_summary
from digitnet.sweep.manifest import Dimension, Job, Search, Sweep
from digitnet.sweep.scheduler import Scheduler
from digitnet.text import one_line

STORAGE = "optuna.log"  # in the sweep's folder: Optuna's journal, for optuna-dashboard too
STARTUP_TRIALS = 5  # at random, and never pruned
PROPOSALS = 10  # for each trial wanted: some repeat what was tried, others do not compose
WARMUP_EPOCHS = 3  # LeNet-5's plateau: before, accuracies say nothing


class Trials:
    """The search's side of a drive: `more` proposes, watches, prunes, and tells Optuna what came of a trial.

    A trial has the number that its job's name begins with. One whose job failed stays under way for Optuna, so that a
    resumed search tries it again. `make(number, overrides)` composes a trial's job and writes it down; it raises
    ConfigError where that cannot be.
    """

    def __init__(self, sweep: Sweep, drive: Scheduler, at_once: int, make: Callable[[int, list[str]], Job]) -> None:
        assert sweep.search is not None
        self._sweep, self._drive, self._at_once, self._make = sweep, drive, at_once, make
        self._search: Search = sweep.search
        self._study = open_study(sweep)
        self._running: dict[str, Any] = {}
        self._reported: dict[str, int] = {}  # the last epoch that Optuna knows of
        self._refused: list[list[str]] = []  # overrides that do not go together

    @property
    def done(self) -> str | None:
        """Why there is nothing to propose any more, if so."""
        tried, proposed = len(self._sweep.jobs), len(self._study.get_trials(deepcopy=False))
        if tried + len(self._refused) >= math.prod(dimension.size for dimension in self._search.space.values()):
            return "all combinations were tried"
        return "finished" if tried >= self._search.trials or proposed >= PROPOSALS * self._search.trials else None

    def begin(self) -> list[str]:
        """The jobs of trials that were under way when the search was stopped, or that failed."""
        import optuna

        names = {_number(name): name for name in self._sweep.jobs}
        for frozen in self._study.get_trials(deepcopy=False):
            name = names.get(frozen.number)
            if not frozen.state.is_finished():
                self._seed(frozen.number)
                trial = optuna.Trial(self._study, frozen._trial_id)
                if name is None:  # the search was killed before the job was written down
                    self._propose(trial)
                else:
                    self._running[name], self._reported[name] = trial, frozen.last_step or 0
            elif name is not None:
                self._drive.pruned.add(name)
        return list(self._running)

    def more(self, todo: list[str]) -> list[str]:
        """See `Drive.__call__`."""
        for name, trial in list(self._running.items()):
            summary = self._drive.summary(name)
            if summary is not None:
                self._report(name, trial, summary)
            if name not in todo:
                del self._running[name]
                self._end(name, trial, summary)
        before = set(self._running)
        while len(self._running) < self._at_once and not self.done:
            self._seed(len(self._study.get_trials(deepcopy=False)))
            self._propose(self._study.ask())
        return [name for name in self._running if name not in before]

    def _seed(self, number: int) -> None:
        """For each trial a seed of its own: a resumed search proposes what it would have proposed."""
        import optuna

        if number and self._study.get_trials(deepcopy=False)[number - 1].state == optuna.trial.TrialState.FAIL:
            # The one before repeated another, as TPE would again and again where there are few values.
            self._study.sampler = optuna.samplers.RandomSampler(seed=number)
            return
        with warnings.catch_warnings(action="ignore"):  # older versions call constant_liar experimental
            # The liar takes trials under way for bad ones: those beside them are not to be tried at the same time.
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=number
            )

    def _propose(self, trial: Any) -> None:
        """Ask Optuna for values, and have a job of them."""
        values = {key: _suggest(trial, key, dimension) for key, dimension in self._search.space.items()}
        overrides = [*self._search.fixed, *(f"{key}={value}" for key, value in values.items())]
        if overrides in [*self._refused, *(job.overrides for job in self._sweep.jobs.values())]:
            self._tell(trial, None, "FAIL")
            return
        try:
            job = self._make(trial.number, overrides)
        except ConfigError as error:
            self._refused.append(overrides)
            self._drive.view.line(f"{trial.number}: not tried: {error}", "yellow")
            self._tell(trial, None, "FAIL")
            return
        self._running[job.name], self._reported[job.name] = trial, 0

    def _report(self, name: str, trial: Any, summary: RunSummary) -> None:
        """Tell Optuna of new epochs; stop the job if they say that it falls behind."""
        if summary.epochs <= self._reported[name] or name in self._drive.pruned:
            return
        folder = self._sweep.folder / name
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # of a damaged file the job itself will say
            for record in read_metrics(folder / "metrics.csv")[self._reported[name] :]:
                trial.report(record.val_acc, record.epoch)
                self._reported[name] = record.epoch
        if not self._search.prune or summary.status != "running" or not is_locked(folder):  # it has not begun again yet
            return
        if summary.epochs < run_length(Config.model_validate(summary.config)) and trial.should_prune():
            self._drive.pruned.add(name)
            self._drive.launcher.stop([name])

    def _end(self, name: str, trial: Any, summary: RunSummary | None) -> None:
        """Tell Optuna what came of a trial."""
        status = summary.status if summary is not None else "failed"
        if status == "finished" and summary is not None and summary.final is not None:
            self._tell(trial, summary.final["val_acc"], None)
        elif status == "diverged":
            self._tell(trial, 0.0, None)  # worse than chance: not here again
            self._drive.pruned.add(name)
        elif name in self._drive.pruned and summary is not None:
            summary.error = f"pruned after epoch {summary.epochs}: behind the median of the trials before"
            write_summary(self._sweep.folder / name / "summary.json", summary)
            self._drive.failures.pop(name, None)  # that Slurm cancelled it, is no failure
            self._tell(trial, None, "PRUNED")

    def _tell(self, trial: Any, value: float | None, state: str | None) -> None:
        import optuna

        self._study.tell(trial, value, state=optuna.trial.TrialState[state] if state else None)


def best(sweep: Sweep) -> tuple[Job, float] | None:
    """The finished trial with the highest validation accuracy, which is the table's first; None if there is none."""
    found: dict[tuple[float, float], Job] = {}
    for job in sweep.jobs.values():
        summary = sweep.summary(job.name)
        if summary is not None and summary.status == "finished" and summary.final is not None:
            found.setdefault((summary.final["val_acc"], -summary.final["val_loss"]), job)
    return (found[max(found)], max(found)[0]) if found else None


def _number(name: str) -> int:
    return int(name.partition(",")[0])


def _suggest(trial: Any, key: str, dimension: Dimension) -> str:
    low, high = dimension.low, dimension.high
    if dimension.choices is not None:
        return str(trial.suggest_categorical(key, dimension.choices))
    if dimension.whole:
        return str(trial.suggest_int(key, int(low), int(high), log=dimension.log))
    value = trial.suggest_float(key, low, high, log=dimension.log)
    return str(min(max(float(f"{value:.4g}"), low), high))  # for people to read


def check_installed() -> None:
    """Raises ConfigError if Optuna is not."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("digitnet tune: Optuna is not installed; pip install 'digitnet[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(sweep: Sweep) -> Any:
    """Optuna's study in the sweep's folder, begun or gone on with. Raises DigitnetError if its journal is damaged."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = sweep.folder / STORAGE
    try:
        _cut_off(path)
        unlocked: Any = _NoLock()
        storage = JournalStorage(JournalFileBackend(str(path), unlocked))
        study = optuna.create_study(study_name="digitnet", storage=storage, direction="maximize", load_if_exists=True)
        known = {trial.number for trial in study.trials}
        if unknown := [name for name in sweep.jobs if _number(name) not in known]:
            raise ValueError(f"{unknown[0]} is not in it")
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise DigitnetError(
            f"{path}: not the journal of this search ({one_line(error)});\nbring it back, or start a new search"
        ) from error
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    return study


def _cut_off(path: Path) -> None:
    """Remove half a line at the end, which a full disk leaves: Optuna would write the next one behind it."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)


class _NoLock:
    """The sweep's folder is locked. Optuna's own lock would stay behind when the search is killed."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
