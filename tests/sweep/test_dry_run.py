"""`--dry-run` tells what would run and how long it may take, and changes nothing."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.config.compose import load_config
from digitnet.config.schema import Config
from digitnet.experiment import estimate
from digitnet.experiment.components import Components, build_components
from digitnet.experiment.estimate import estimated_seconds
from digitnet.metrics import Evaluation
from digitnet.sweep import dry_run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "MEASURED_SECONDS", 0.05)


def test_run_is_checked_and_not_started(command: Command) -> None:
    done = command(*TINY, "trainer.epochs=7", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"1 run of 7 epochs; about \d+:\d\d\n", done.out)
    assert [*Path.cwd().iterdir()] == []
    assert command(*TINY, "trainer.epochs=0", "--dry-run").code == 2


def test_jobs_of_a_sweep_are_listed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "SHOWN_JOBS", 3)
    words = [*TINY, "seed=0,1", "trainer.epochs=2,3", "hydra/launcher=local", "hydra.launcher.jobs=2"]
    done = command("-m", *words, "--dry-run")
    first, *rows = done.out.splitlines()
    assert re.fullmatch(r"4 jobs, 10 epochs; about \d+:\d\d, 2 at a time", first)
    assert rows == ["  epochs=2,seed=0", "  epochs=2,seed=1", "  epochs=3,seed=0", "  and 1 more"]
    assert [*Path.cwd().iterdir()] == []
    write(Path("conf/sweep/mine.yaml"), "seed: 0,1\n")
    assert command("sweep=mine", *TINY, "--dry-run").out.startswith("2 jobs, 4 epochs; about ")


def test_jobs_of_the_same_speed_are_measured_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def estimated(config: object) -> float:
        measured.append(config.model.name)  # type: ignore[attr-defined]
        return 60.0

    monkeypatch.setattr(estimate, "estimated_seconds", estimated)
    done = command("-m", *TINY, "model=lenet5,fastnet", "seed=0,1", "optimizer.lr=0.1,0.2", "--dry-run")
    assert measured == ["lenet5", "fastnet"]
    assert done.out.startswith("8 jobs, 16 epochs; about 8:00\n")
    monkeypatch.setattr(dry_run, "MEASURED", 1)
    assert command("-m", *TINY, "model=lenet5,fastnet", "--dry-run").out.startswith("2 jobs, 4 epochs; about 2:00\n")


def test_missing_data_are_not_downloaded(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(config: Config, download: bool = True) -> Components:
        assert not download
        return build_components(config, download)

    monkeypatch.setattr(estimate, "build_components", build)
    done = command("data=mnist", "data.root=nowhere", "--dry-run")
    assert done.out == "1 run of 20 epochs; data=mnist is not on this machine yet, so the time is not known\n"
    assert not Path("nowhere").exists()


def test_sweeper_that_proposes_jobs_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from digitnet.sweep.plan import SweepPlan, plan_sweep

    def plan(*arguments: object) -> SweepPlan:
        planned = plan_sweep(*arguments)  # type: ignore[arg-type]
        object.__setattr__(planned.request, "sweeper", {})
        return planned

    monkeypatch.setattr(dry_run, "plan_sweep", plan)
    done = command("-m", *TINY, "seed=0,1", "--dry-run")
    assert (done.code, done.err) == (
        2,
        "error: --dry-run: the jobs of this sweeper depend on the results of earlier ones\n",
    )


def test_estimate_is_steps_and_evaluations_of_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only training and evaluation move: a step takes 0.1 s, an evaluation 2 s."""
    clock = [100.0]

    def train(components: Components, seconds: float) -> None:
        components.state.steps += 10 if seconds else 7
        clock[0] += 1.0 if seconds else 50.0

    def build(config: Config, download: bool) -> Components:
        def evaluate(*_: object) -> Evaluation:
            clock[0] += 2.0
            return Evaluation(0.0, 0, 1)

        return replace(build_components(config, download), evaluate=evaluate)

    monkeypatch.setattr(estimate, "_train", train)
    monkeypatch.setattr(estimate, "build_components", build)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(estimate, "EVALUATED", 90)
    config = load_config([*TINY, "trainer.epochs=3"])  # 45 steps an epoch, 360 images to evaluate
    assert estimated_seconds(config) == pytest.approx(3 * (45 * 0.1 + 2.0 * 360 / 90))
