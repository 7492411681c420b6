"""The number of jobs of a sweep that run on this machine at a time, and the number of threads of each job."""

from collections.abc import Collection
from math import ceil

from digitnet.config.launcher_schema import LauncherConfig, LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.config.schema import Config
from digitnet.errors import ConfigError
from digitnet.hardware import available_cores, gpu_count
from digitnet.sweep.manifest import Job
from digitnet.text import plural

GPU_DEVICES = ("auto", "cuda")  # values of `device` with which a job uses a GPU


def on_gpus(jobs: Collection[Job]) -> bool:
    """Whether one of these jobs would use a GPU, if there is one; also if there are none to look at."""
    return not jobs or any(job.config.get("device", {}).get("name") in GPU_DEVICES for job in jobs)


def jobs_at_once(launcher: LocalLauncherConfig, gpus_used: bool) -> int:
    """The number of jobs that run at a time on this machine; `gpus_used` if they use GPUs, or shares, see `on_gpus`."""
    if launcher.jobs is not None:
        return launcher.jobs
    by_cores = max(1, available_cores() // (launcher.threads or 1))
    gpus = gpu_count() if gpus_used else 0
    if not gpus:
        return by_cores
    by_gpus = gpus * int(1 / launcher.gpus + 1e-9) if launcher.gpus <= 1 else gpus // ceil(launcher.gpus)
    return min(by_cores, max(1, by_gpus))  # 1e-9: 1 / 0.1 may come out less than 10


def gpus_of_slots(slots: int, share: float) -> list[int]:
    """The index of the GPU, or of the first one, for the job in each slot, where a job has this `share` of a GPU.

    GPUs are dealt in turn, so that their loads differ by one job at most. If there are none, the index is 0.
    """
    groups = max(1, gpu_count() // ceil(share))
    return [slot % groups * ceil(share) for slot in range(slots)]


def with_threads(config: Config, launcher: LauncherConfig) -> Config:
    """The configuration with `trainer.threads` set, so that a job has the same results if it is resumed elsewhere.

    A number that is set already is kept. Raises ConfigError if it exceeds the job's share of the cores.
    """
    requested = config.trainer.threads
    match launcher:
        case LocalLauncherConfig():
            jobs = jobs_at_once(launcher, config.device.name in GPU_DEVICES)
            cores = available_cores()
            share = max(1, cores // jobs)
            if requested is not None and requested > share:
                have = f"trainer.threads={requested}: this machine has {plural(cores, 'core')}"
                many = f", which leaves each of {jobs} jobs {share}; lower it, or hydra.launcher.jobs"
                raise ConfigError(have + (many if jobs > 1 else ""))
            threads = launcher.threads if launcher.threads is None or jobs == 1 else min(launcher.threads, share)
            if threads is None and jobs > 1:
                threads = share
        case RayLauncherConfig():
            threads = max(1, int(launcher.cpus))
        case SlurmLauncherConfig():
            threads = launcher.cpus
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"threads": requested or threads})})
