"""How many jobs run at a time, with how many threads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import Command
from digitnet.config.compose import load_config
from digitnet.config.files import Tree
from digitnet.config.launcher_schema import LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.errors import ConfigError
from digitnet.sweep import capacity
from digitnet.sweep.capacity import gpus_of_slots, jobs_at_once, on_gpus, with_threads
from digitnet.sweep.launchers import local
from digitnet.sweep.manifest import Job
from digitnet.sweep.plan import plan_sweep


def launcher(**options: Any) -> LocalLauncherConfig:
    return LocalLauncherConfig.model_validate({"name": "local", "jobs": None, "threads": 1, "gpus": 1.0, **options})


@pytest.mark.parametrize(
    ("options", "cores", "gpus", "on_gpus", "jobs"),
    [
        ({}, 8, 0, True, 8),
        ({"threads": 3}, 8, 0, True, 2),
        ({"threads": 16}, 8, 0, True, 1),
        ({"threads": None}, 8, 0, True, 8),
        ({"jobs": 3}, 8, 0, True, 3),
        ({}, 8, 2, True, 2),
        ({}, 8, 2, False, 8),  # they stay on the CPU
        ({"gpus": 0.5}, 8, 2, True, 4),
        ({"gpus": 0.1}, 8, 2, True, 8),
        ({"gpus": 2.0}, 8, 3, True, 1),
        ({"gpus": 4.0}, 8, 3, True, 1),
        ({"gpus": 0.7}, 8, 2, True, 2),
        ({"gpus": 0.3}, 8, 2, True, 6),  # three on each, with 0.9 of it
        ({"gpus": 0.1}, 64, 2, True, 20),
        ({"gpus": 1.5}, 8, 3, True, 1),
    ],
)
def test_jobs_at_once_are_limited_by_cores_and_gpus(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], cores: int, gpus: int, on_gpus: bool, jobs: int
) -> None:
    monkeypatch.setattr(capacity, "available_cores", lambda: cores)
    monkeypatch.setattr(capacity, "gpu_count", lambda: gpus)
    assert jobs_at_once(launcher(**options), on_gpus) == jobs


def test_local_jobs_share_the_cores_as_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "available_cores", lambda: 8)
    monkeypatch.setattr(capacity, "gpu_count", lambda: 0)
    config = load_config([])

    def threads(options: Mapping[str, Any], requested: int | None = None) -> int | None:
        trainer = config.trainer.model_copy(update={"threads": requested})
        return with_threads(config.model_copy(update={"trainer": trainer}), launcher(**options)).trainer.threads

    assert threads({}) == 1
    assert threads({"jobs": 3, "threads": 4}) == 2
    assert threads({"jobs": 3, "threads": None}) == 2
    assert threads({"jobs": 1, "threads": None}) is None  # PyTorch's own choice, as for a single run
    assert threads({"jobs": 2}, 4) == 4
    assert threads({"jobs": 1}, 8) == 8
    with pytest.raises(ConfigError) as error:
        threads({"jobs": 3}, 4)
    assert str(error.value) == (
        "trainer.threads=4: this machine has 8 cores, which leaves each of 3 jobs 2; lower it, or hydra.launcher.jobs"
    )
    with pytest.raises(ConfigError) as error:
        threads({"jobs": 1}, 9)
    assert str(error.value) == "trainer.threads=9: this machine has 8 cores"


@pytest.mark.parametrize(
    ("slots", "share", "gpus", "dealt"),
    [
        (3, 1.0, 3, [0, 1, 2]),
        (4, 0.5, 2, [0, 1, 0, 1]),
        (2, 0.7, 2, [0, 1]),
        (6, 0.3, 2, [0, 1, 0, 1, 0, 1]),
        (2, 2.0, 4, [0, 2]),
        (2, 1.5, 5, [0, 2]),
        (3, 1.0, 0, [0, 0, 0]),
        (3, 1.0, 2, [0, 1, 0]),  # more jobs at a time than there is room for, as hydra.launcher.jobs may ask
    ],
)
def test_gpus_are_dealt_so_that_no_shares_on_one_exceed_it(
    monkeypatch: pytest.MonkeyPatch, slots: int, share: float, gpus: int, dealt: list[int]
) -> None:
    monkeypatch.setattr(capacity, "gpu_count", lambda: gpus)
    assert gpus_of_slots(slots, share) == dealt


def test_jobs_use_gpus_unless_all_stay_on_the_cpu() -> None:
    def job(device: Any) -> Job:
        return Job("a", [], "", {"device": device})

    assert not on_gpus([job({"name": "cpu"})])
    assert not on_gpus([job({})])  # damaged
    assert on_gpus([job({"name": "cpu"}), job({"name": "auto"})])
    assert on_gpus([])  # not known yet


def test_new_sweep_and_search_on_the_cpu_have_as_many_jobs_at_a_time_as_a_resumed_one(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """Although the machine has a GPU, of which one job at a time would have the whole."""
    found: list[int] = []

    def refuse(folder: Path, options: LocalLauncherConfig, slots: int, trust: bool) -> None:
        found.append(slots)
        raise ConfigError("no launcher here")

    monkeypatch.setattr(capacity, "available_cores", lambda: 16)
    monkeypatch.setattr(capacity, "gpu_count", lambda: 1)
    monkeypatch.setattr(local, "LocalLauncher", refuse)
    words = ["data=digits", "device=cpu", "hydra/launcher=local"]
    command("-m", *words, "seed=0,1")
    command("tune", *words, "seed=int(interval(0,9))")
    command("-m", "data=digits", "hydra/launcher=local", "seed=0,1")
    assert found == [16, 16, 1]


def test_cluster_jobs_have_as_many_threads_as_they_request_cpus() -> None:
    config = load_config([])
    ray = RayLauncherConfig(name="ray", address="auto", jobs=None, cpus=2.5, gpus=0)
    assert with_threads(config, ray).trainer.threads == 2
    assert with_threads(config, ray.model_copy(update={"cpus": 0.5})).trainer.threads == 1
    assert with_threads(load_config(["trainer.threads=7"]), ray).trainer.threads == 7
    plan = plan_sweep(["hydra/launcher=slurm", "hydra.launcher.cpus=3"], Tree.at())
    assert isinstance(plan.sweep.launcher, SlurmLauncherConfig)
    assert with_threads(config, plan.sweep.launcher).trainer.threads == 3
