"""How many jobs run at a time, with how many threads."""

from collections.abc import Mapping
from typing import Any

import pytest

from digitnet.config.compose import load_config
from digitnet.config.files import Tree
from digitnet.config.schema import LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.errors import ConfigError
from digitnet.sweep import capacity
from digitnet.sweep.capacity import jobs_at_once, with_threads
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
        "trainer.threads=4: 3 jobs at a time on 8 cores leave each 2; lower it, or hydra.launcher.jobs"
    )


def test_cluster_jobs_have_as_many_threads_as_they_request_cpus() -> None:
    config = load_config([])
    ray = RayLauncherConfig(name="ray", address="auto", jobs=None, cpus=2.5, gpus=0)
    assert with_threads(config, ray).trainer.threads == 2
    assert with_threads(config, ray.model_copy(update={"cpus": 0.5})).trainer.threads == 1
    assert with_threads(load_config(["trainer.threads=7"]), ray).trainer.threads == 7
    plan = plan_sweep(["hydra/launcher=slurm", "hydra.launcher.cpus=3"], Tree.at())
    assert isinstance(plan.sweep.launcher, SlurmLauncherConfig)
    assert with_threads(config, plan.sweep.launcher).trainer.threads == 3
