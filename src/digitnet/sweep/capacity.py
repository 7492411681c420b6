"""The number of jobs of a sweep that run on this machine at a time, and the number of threads of each job."""

from digitnet.config.schema import Config, LauncherConfig, LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.errors import ConfigError
from digitnet.hardware import available_cores, gpu_count


def jobs_at_once(launcher: LocalLauncherConfig, on_gpus: bool) -> int:
    """The number of jobs that run at a time on this machine; `on_gpus` if each would use a GPU or a share of one."""
    if launcher.jobs is not None:
        return launcher.jobs
    by_cores = max(1, available_cores() // (launcher.threads or 1))
    gpus = gpu_count() if on_gpus else 0
    return min(by_cores, max(1, int(gpus / launcher.gpus))) if gpus else by_cores


def with_threads(config: Config, launcher: LauncherConfig) -> Config:
    """The configuration with `trainer.threads` set, so that a job has the same results if it is resumed elsewhere.

    A number that is set already is kept. Raises ConfigError if it exceeds the job's share of the cores.
    """
    requested = config.trainer.threads
    match launcher:
        case LocalLauncherConfig():
            jobs = jobs_at_once(launcher, config.device.name in ("auto", "cuda"))
            cores = available_cores()
            share = max(1, cores // jobs)
            if requested is not None and requested > share and jobs > 1:
                raise ConfigError(
                    f"trainer.threads={requested}: {jobs} jobs at a time on {cores} cores leave each {share}; "
                    "lower it, or hydra.launcher.jobs"
                )
            threads = launcher.threads if launcher.threads is None or jobs == 1 else min(launcher.threads, share)
            if threads is None and jobs > 1:
                threads = share
        case RayLauncherConfig():
            threads = max(1, int(launcher.cpus))
        case SlurmLauncherConfig():
            threads = launcher.cpus
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"threads": requested or threads})})
