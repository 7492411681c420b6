"""Finds runs and jobs of sweeps below folders, including unfinished and damaged ones. Does not import torch."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from digitnet.atomic import read_regular
from digitnet.config.dotted import flatten
from digitnet.config.rules import is_result
from digitnet.errors import ConfigError
from digitnet.runs.folder import RUN_FILES, SWEEP_FILE, RunFolder
from digitnet.runs.formats import RunSummary, is_job_name

# A run's metrics, by their names in --sort and --where; accuracies are fractions.
METRICS = (
    "status",
    "epochs",
    "val_acc",
    "val_loss",
    "best_val_acc",
    "test_acc",
    "test_errors",
    "seconds",
    "parameters",
)


@dataclass(frozen=True)
class Run:
    """A run, a job of a sweep that has not started, or a damaged run.

    `status` is that of summary.json, or "waiting" (a job that has not started), "killed" (summary.json has "running",
    but no process holds the folder's lock), "debug" (it finished, with another debug=… than none and nan, so
    its figures are no results) or "broken" (summary.json is missing or damaged). `error` is the reason.
    `settings` has dotted keys, `optimizer` for `optimizer.name`; `metrics` has those of METRICS that have a value.
    """

    folder: Path
    status: str
    error: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key == "status" or key in self.metrics or key in self.settings

    def get(self, key: str) -> Any:
        """The value of a metric or a setting; None if it has none."""
        return self.status if key == "status" else self.metrics.get(key, self.settings.get(key))


def find_runs(paths: Sequence[str | Path], failures: Mapping[Path, str] | None = None) -> list[Run]:
    """All runs in and below `paths`, each once, in the order of their folders; `paths` that are files are ignored.

    `failures` has the reasons of failures that are not in the run's own folder. Raises ConfigError if there are no
    runs.
    """
    failures = failures or {}
    runs_by_path: dict[Path, Run] = {}  # by the resolved paths of their folders
    without_runs: list[Run] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ConfigError(f"{path}: no such folder; give those of runs or sweeps, outputs/ for instance")
        top, real = path.absolute(), path.resolve()
        runs = [*_below(top)] if path.is_dir() else []
        for run in runs:
            if run.folder in failures:
                run = Run(run.folder, "failed", failures[run.folder], run.settings, run.metrics)
            runs_by_path.setdefault(real / run.folder.relative_to(top), run)
        if path.is_dir() and not runs:
            without_runs.append(Run(top, "broken", "no run in it"))
    if not runs_by_path:
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise ConfigError(f"{paths[0]}{others}: no run there; give the folder of runs or sweeps, outputs/ for instance")
    return [*runs_by_path.values(), *without_runs]


def _below(top: Path) -> Iterator[Run]:
    """The runs in and below a folder, which may be a run itself."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            yield Run(folder, "broken", str(error.strerror))
            continue
        names = {entry.name for entry in entries}
        jobs: dict[str, dict[str, Any]] = {}
        if SWEEP_FILE in names:
            try:
                jobs = _jobs(folder / SWEEP_FILE)
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
                yield Run(folder, "broken", f"{SWEEP_FILE}: not a sweep's; jobs that have not started are not listed")
        elif names & RUN_FILES:
            yield read_run(folder)
        for name, planned in jobs.items():
            yield read_run(folder / name, planned)
        folders += [
            folder / entry.name
            for entry in reversed(entries)
            if not entry.name.startswith(".")
            and entry.name != "checkpoints"
            and entry.name not in jobs
            and entry.is_dir(follow_symlinks=False)
        ]


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    """The settings of a sweep's jobs by their names. Raises all kinds of errors if the file is not a sweep's."""
    jobs = json.loads(read_regular(path))["jobs"]
    settings_by_name = {name: _settings(job["config"]) for name, job in jobs.items() if is_job_name(name)}
    for settings in settings_by_name.values():
        if settings.get("data") == "auto":  # which data these are is known only when the job starts
            for key in [key for key in settings if key.partition(".")[0] == "data"]:
                del settings[key]
    return settings_by_name


def is_searched_in_logarithm(folder: Path, key: str) -> bool:
    """Whether the run in `folder` is a trial of a search that draws the values of `key` uniformly in the logarithm."""
    try:
        return json.loads(read_regular(folder.parent / SWEEP_FILE))["search"]["space"][key]["log"] is True
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def read_run(folder: Path, planned: Mapping[str, Any] | None = None) -> Run:
    """Read a run's folder; `error` says why it is broken. A job with `planned` settings may not have started."""
    files = RunFolder(folder)
    try:
        summary = files.read_summary()
        killed = False
        if summary.status == "running" and not files.is_locked():
            summary = files.read_summary()  # again: it may have ended between the two checks
            killed = summary.status == "running"
        settings = _settings(summary.config or _composed(folder)) or {"model": summary.model, "seed": summary.seed}
        metrics = _metrics(summary)
    except FileNotFoundError:
        if planned is not None:
            return Run(folder, "waiting", settings=planned)
        return Run(folder, "broken", "never started training: it has no summary.json")
    except Exception as error:  # a damaged or foreign file can lead to any
        what = str(error.strerror) if isinstance(error, OSError) else f"not a run's ({error})"
        return Run(folder, "broken", f"{files.summary_file.name}: {what[:200]}")
    if killed:
        process = summary.process
        who = f" {process['pid']} on {process['host']}" if {"pid", "host"} <= process.keys() else ""
        return Run(folder, "killed", f"its process{who} is gone", settings, metrics)
    is_debugged = not is_result(settings.get("debug", "none"))
    status = "debug" if summary.status == "finished" and is_debugged else summary.status
    return Run(folder, status, summary.error or "", settings, metrics)


def _metrics(summary: RunSummary) -> dict[str, Any]:
    final, best, test = summary.final or {}, summary.best or {}, summary.test or {}
    metrics = {
        "epochs": summary.epochs,
        "val_acc": final.get("val_acc"),
        "val_loss": final.get("val_loss"),
        "best_val_acc": best.get("val_acc"),
        "test_acc": test.get("accuracy"),
        "test_errors": test.get("errors"),
        "seconds": summary.seconds,
        "parameters": summary.parameters,
    }
    return {key: value for key, value in metrics.items() if value is not None}


def _composed(folder: Path) -> dict[str, Any]:
    """The configuration from `.hydra/`, for runs of versions that did not write it into summary.json."""
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return dict(yaml.load(read_regular(folder / ".hydra" / "config.yaml"), loader))
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return {}


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with dotted keys, without `.name`: {"optimizer": "sgd", "optimizer.lr": 1.0, ...}."""
    return {key.removesuffix(".name"): value for key, value in flatten(config).items()}
