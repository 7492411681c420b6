"""A search for the best values: Optuna proposes trials, which are jobs of a sweep, and says which fall behind."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from digitnet.errors import ConfigError, DigitnetError
from digitnet.records import read_metrics, write_summary
from digitnet.sweep.book import Dimension, Job, Search, Sweep
from digitnet.sweep.drive import Drive

STORAGE = "optuna.log"  # in the sweep's folder: Optuna's journal, for optuna-dashboard too
STARTUP_TRIALS = 5  # at random, and never pruned
WARMUP_EPOCHS = 3  # LeNet-5's plateau: before, accuracies say nothing


class Trials:
    """The search's side of a drive: `more` proposes, watches, prunes, and tells Optuna what came of a trial.

    `make(number, overrides)` composes a trial's job and writes it down; it raises ConfigError where that cannot be.
    """

    def __init__(self, sweep: Sweep, drive: Drive, at_once: int, make: Callable[[int, list[str]], Job]) -> None:
        assert sweep.search is not None
        self._sweep, self._drive, self._at_once, self._make = sweep, drive, at_once, make
        self._search: Search = sweep.search
        self.study = open_study(sweep)
        self._running: dict[str, Any] = {}
        self._reported: dict[str, int] = {}

    def begin(self) -> list[str]:
        """The jobs of trials that were under way when the search was stopped."""
        import optuna

        jobs = {int(name.partition(",")[0]): name for name in self._sweep.jobs}
        for frozen in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if (name := jobs.get(frozen.number)) is None:  # the search was killed before the job was written down
                self.study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
            else:
                self._running[name] = optuna.Trial(self.study, frozen._trial_id)
        return list(self._running)

    def more(self, todo: list[str]) -> list[str]:
        """See `Drive.__call__`."""
        for name, trial in list(self._running.items()):
            self._watch(name, trial, name in todo)
        new: list[str] = []
        while len(self._running) < self._at_once and len(self.study.get_trials(deepcopy=False)) < self._search.trials:
            trial = self.study.ask()
            values = {key: _suggest(trial, key, dimension) for key, dimension in self._search.space.items()}
            try:
                job = self._make(trial.number, [*self._search.fixed, *(f"{key}={v}" for key, v in values.items())])
            except ConfigError as error:  # these values do not go together
                self._drive.view.line(f"{trial.number}: not tried: {error}", "red")
                self._tell(trial.number, None, "FAIL")
                continue
            self._running[job.name] = trial
            new.append(job.name)
        return new

    def _watch(self, name: str, trial: Any, under_way: bool) -> None:
        summary = self._drive.summary(name)
        if summary is not None and summary.epochs > self._reported.get(name, 0) and name not in self._drive.pruned:
            for record in read_metrics(self._sweep.folder / name / "metrics.csv")[self._reported.get(name, 0) :]:
                trial.report(record.val_acc, record.epoch)
                self._reported[name] = record.epoch
            if self._search.prune and summary.status == "running" and trial.should_prune():
                self._drive.pruned.add(name)
                self._drive.launcher.stop([name])
        if under_way:
            return
        if name in self._drive.pruned and summary is not None and summary.status == "interrupted":
            summary.error = f"pruned after epoch {summary.epochs}: behind the median of the trials before"
            write_summary(self._sweep.folder / name / "summary.json", summary)
            self._tell(trial.number, None, "PRUNED")
        elif summary is not None and summary.status == "finished" and summary.final is not None:
            self._tell(trial.number, summary.final["val_acc"], None)
        elif summary is not None and summary.status == "diverged":
            self._tell(trial.number, 0.0, None)  # worse than chance: not here again
        elif self._drive.stop.wanted is None:
            self._tell(trial.number, None, "FAIL")
        del self._running[name]

    def _tell(self, number: int, value: float | None, state: str | None) -> None:
        import optuna

        self.study.tell(number, value, state=optuna.trial.TrialState[state] if state else None)

    def best(self) -> tuple[Job, float] | None:
        """The trial with the highest validation accuracy; None if none was finished."""
        with contextlib.suppress(ValueError):
            trial = self.study.best_trial
            jobs = {int(name.partition(",")[0]): job for name, job in self._sweep.jobs.items()}
            return jobs[trial.number], float(trial.value)
        return None


def _suggest(trial: Any, key: str, dimension: Dimension) -> str:
    if dimension.choices is not None:
        return str(trial.suggest_categorical(key, dimension.choices))
    if dimension.whole:
        return str(trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log))
    return f"{trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log):.4g}"  # for people to read


def check_installed() -> None:
    """Raises ConfigError if Optuna is not."""
    try:
        import optuna
    except ImportError:
        raise ConfigError("digitnet tune: Optuna is not installed; pip install 'digitnet[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_study(sweep: Sweep) -> Any:
    """Optuna's study in the sweep's folder, begun or gone on with. Raises DigitnetError if its journal is damaged."""
    check_installed()
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        with warnings.catch_warnings(action="ignore"):
            storage = JournalStorage(JournalFileBackend(str(sweep.folder / STORAGE)))
            study = optuna.create_study(
                study_name="digitnet", storage=storage, direction="maximize", load_if_exists=True
            )
    except (ValueError, KeyError) as error:
        raise DigitnetError(
            f"{sweep.folder / STORAGE}: not a search's journal ({error}); start the search anew"
        ) from error
    # Its numbers go on where they were; with the first seed again, it would propose the same again.
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=len(study.trials))
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    return study
