"""What tests of searches share: networks that fail as they are told, and searches without training."""

from pathlib import Path
from typing import Any

import optuna

from conftest import write
from digitnet.config.compose import load_config
from digitnet.config.dimension import Dimension
from digitnet.config.files import Tree
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.errors import ConfigError
from digitnet.runs.formats import RunSummary, read_summary, write_metrics, write_summary
from digitnet.sweep import manifest, search, tuning
from digitnet.sweep.manifest import Job, Search, Sweep
from digitnet.sweep.search import Trials
from digitnet.training.record import EpochRecord
from sweeping import SWEEP

DATA = ["data=digits", "data.enlarge_to=1437", "data.validation=300"]
OPTIONS = [*DATA, "logger=metrics", "trainer.threads=1", "optimizer=adam"]
UNTRUSTED = (
    "error: sweep: its network is mine:{}, which would be imported and run;\n"
    "if you trust the source of this folder, add --trust\n"
)
LR = "optimizer.lr=tag(log,interval(0.001,0.1))"
NETWORKS = """
import time
from pathlib import Path
from torch import nn

class Linear(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

class Broken(Linear):
    def forward(self, images):
        if Path("broken").exists():
            raise RuntimeError("too much")
        return super().forward(images)

class Diverging(Linear):
    def forward(self, images):
        return super().forward(images) * (float("nan") if Path("diverges").exists() else 1)

class Slow(Linear):
    def forward(self, images):
        if self.training and Path("slow").exists():
            time.sleep(0.03)
        return super().forward(images)

class Late(Linear):  # only in the first job it learns anything
    late = len(list(Path("sweep").glob("[0-9]*"))) > 1
    def forward(self, images):
        if self.training and self.late:
            time.sleep(0.04)
        return super().forward(images) * (not self.late)
"""


def tune(network: str, *more: str) -> list[str]:
    """The words of a search with one of the networks above."""
    write(Path("mine.py"), NETWORKS)
    return ["tune", *OPTIONS, "hydra.sweep.dir=sweep", "model=custom", f"model.target=mine:{network}", LR, *more]


def summaries(sweep: Path = SWEEP) -> dict[str, RunSummary]:
    """Of all trials, by their names, in their order."""
    found = {path.parent.name: read_summary(path) for path in sweep.glob("*/summary.json")}
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(",")[0])))


def states() -> list[str]:
    """Of all trials, as Optuna has them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return [trial.state.name for trial in search.open_study(manifest.read_manifest(SWEEP)).trials]


def accuracy(summary: RunSummary) -> float:
    assert summary.final is not None
    return float(summary.final["val_acc"])


class IdleScheduler:
    """A scheduler, launcher and view whose jobs do nothing: `summaries` are what their folders say."""

    def __init__(self) -> None:
        self.pruned: set[str] = set()
        self.failures: dict[str, str] = {}
        self.summaries: dict[str, RunSummary] = {}
        self.stopped: list[str] = []
        self.lines: list[str] = []
        self.launcher = self.view = self

    def summary(self, name: str) -> RunSummary | None:
        return self.summaries.get(name)

    def stop(self, names: list[str]) -> None:
        self.stopped += names

    def warning(self, text: str) -> None:
        self.lines.append(f"warning: {text}")


def idle_search(at_once: int, trials: int, invalid: bool = False) -> tuple[Any, Trials, Sweep]:
    """A search in the working directory whose jobs do nothing or, if `invalid`, do not compose."""
    launcher = LocalLauncherConfig(name="local", jobs=at_once, threads=1, gpus=1.0)
    space = {"optimizer.lr": Dimension(low=0.1, high=1.0)}
    sweep = Sweep(Path.cwd(), "", "", launcher, {}, Search(space, [], [], trials, True, [], "config"))

    def make_job(number: int, overrides: list[str]) -> Job:
        if invalid:
            raise ConfigError("they do not fit")
        job = Job(f"{number},{','.join(overrides)}", overrides, "", {})
        sweep.jobs[job.name] = job
        return job

    scheduler: Any = IdleScheduler()
    return scheduler, Trials(sweep, scheduler, at_once, make_job), sweep


def write_progress(
    run_dir: str | Path, accuracies: list[float], status: str, loss: float = 1.0, config: dict[str, Any] | None = None
) -> RunSummary:
    """The files of a job of four epochs after some of them, with these accuracies; its summary."""
    Path(run_dir).mkdir(exist_ok=True)
    records = [EpochRecord(n, 0.1, 1.0, 0.5, loss, value, 1.0, 1.0) for n, value in enumerate(accuracies, start=1)]
    write_metrics(Path(run_dir, "metrics.csv"), records)
    final = {"val_acc": accuracies[-1], "val_loss": loss}
    config = config or load_config(["trainer.epochs=4"]).model_dump(mode="json")
    summary = RunSummary(status, "", 0, {}, epochs=len(records), final=final, config=config)
    write_summary(Path(run_dir, "summary.json"), summary)
    return summary


def write_finished_search() -> None:
    """A search in the folder `sweep` that had one trial, as `digitnet tune` leaves it but for the checkpoint."""
    overrides = [*OPTIONS, LR, "trainer.epochs=1", "hydra.sweep.dir=sweep"]
    plan = tuning.plan_search(overrides, Tree.at(), trials=1, prune=True)
    scheduler: Any = IdleScheduler()

    def make_job(number: int, overrides: list[str]) -> Job:
        (job,) = plan.jobs([overrides], number)
        plan.write_down([job])
        return job

    with plan.claimed():
        plan.freeze()
        plan.write_down([])
        trials = Trials(plan.sweep, scheduler, 1, make_job)
        (name,) = trials.next_jobs([])
        config = plan.sweep.jobs[name].config
        scheduler.summaries[name] = write_progress(SWEEP / name, [0.9], "finished", config=config)
        trials.next_jobs([])
