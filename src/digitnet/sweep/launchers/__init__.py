"""Launchers run the jobs of a sweep. There is a module for each; `make_launcher` makes them."""

from digitnet.config.launcher_schema import LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.sweep.capacity import jobs_at_once
from digitnet.sweep.launchers.launcher import Launcher
from digitnet.sweep.manifest import Sweep


def make_launcher(sweep: Sweep, trust: bool, on_gpus: bool) -> Launcher:
    """Make the launcher that the sweep's configuration chooses; a new launcher must be added here.

    With `trust`, jobs may download data and import networks; `on_gpus` says whether they would use GPUs. Raises
    DigitnetError if the launcher is not available.
    """
    match sweep.launcher:
        case LocalLauncherConfig():
            from digitnet.sweep.launchers.local import LocalLauncher

            return LocalLauncher(sweep.folder, sweep.launcher, jobs_at_once(sweep.launcher, on_gpus), trust)
        case RayLauncherConfig():
            from digitnet.sweep.launchers.ray import RayLauncher

            return RayLauncher(sweep.folder, sweep.launcher, trust)
        case SlurmLauncherConfig():
            from digitnet.sweep.launchers.slurm import SlurmLauncher

            return SlurmLauncher(sweep.folder, sweep.launcher, trust)
