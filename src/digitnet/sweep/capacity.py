"""How many jobs have room on this machine, with how many threads each."""

import os
import shutil
import subprocess

from digitnet.config.schema import Config, LauncherConfig, LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.errors import ConfigError


def cores() -> int:
    """Those that this process may use: a batch system or a container may leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA's, without importing torch for it."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return len([word for word in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if word.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return len(done.stdout.splitlines()) if done.returncode == 0 else 0


def slots(launcher: LocalLauncherConfig, on_gpus: bool) -> int:
    """How many jobs run at a time; `on_gpus` if they would use one."""
    if launcher.jobs is not None:
        return launcher.jobs
    by_cores = max(1, cores() // (launcher.threads or 1))
    there = gpus() if on_gpus else 0
    return min(by_cores, max(1, int(there / launcher.gpus))) if there else by_cores


def with_threads(config: Config, launcher: LauncherConfig) -> Config:
    """The configuration with the threads that the launcher leaves a job: resumed anywhere, it has the same figures.

    Raises ConfigError if it asks for more than there are.
    """
    asked = config.trainer.threads
    match launcher:
        case LocalLauncherConfig():
            jobs = slots(launcher, config.device.name in ("auto", "cuda"))
            room = max(1, cores() // jobs)
            if asked is not None and asked > room and jobs > 1:
                raise ConfigError(
                    f"trainer.threads={asked}: {jobs} jobs at a time on {cores()} cores leave each {room}; "
                    "lower it, or hydra.launcher.jobs"
                )
            threads = launcher.threads if launcher.threads is None or jobs == 1 else min(launcher.threads, room)
            if threads is None and jobs > 1:
                threads = room
        case RayLauncherConfig():
            threads = max(1, int(launcher.cpus))
        case SlurmLauncherConfig():
            threads = launcher.cpus
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"threads": asked or threads})})
