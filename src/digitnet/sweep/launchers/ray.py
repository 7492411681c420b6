"""Runs jobs on a Ray cluster, as tasks that request CPUs and GPUs."""

import contextlib
import os
import signal
import socket
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from digitnet.config.launcher_schema import RayLauncherConfig
from digitnet.errors import ConfigError, DigitnetError
from digitnet.sweep.launchers.launcher import QueueingLauncher
from digitnet.sweep.worker import run_job
from digitnet.text import one_line

CONNECT_SECONDS = 5.0


class RayLauncher(QueueingLauncher):
    """A `Launcher` for a Ray cluster. If a worker dies, Ray starts the task again, which resumes the job."""

    def __init__(self, folder: Path, options: RayLauncherConfig, trust: bool) -> None:
        super().__init__()
        try:
            import ray
        except ImportError:
            raise ConfigError("hydra/launcher=ray: Ray is not installed; pip install 'digitnet[ray]'") from None
        self._ray: Any = ray
        self._arguments = str(folder), trust, str(Path.cwd())
        self._limit = options.jobs
        self._running: dict[str, Any] = {}  # Ray's object references of the tasks
        _connect(ray, options.address)
        self._task: Any = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus)(_run_in_task)

    def poll(self, seconds: float) -> dict[str, str | None]:
        """See `Launcher`."""
        names = {reference: name for name, reference in self._running.items()}
        ended: dict[str, str | None] = {}
        ready, _ = self._ray.wait(list(names), num_returns=1, timeout=seconds)
        for reference in ready:
            name = names[reference]
            del self._running[name]
            try:
                ended[name] = self._ray.get(reference)
            except self._ray.exceptions.TaskCancelledError:
                ended[name] = None  # the job's summary says that it was interrupted
            except Exception as error:  # Ray's: the worker or its node died more often than Ray retries
                ended[name] = one_line(error)
        return ended

    def close(self) -> list[str]:
        """See `Launcher`."""
        self._ray.shutdown()
        return list(self._running)

    def _has_room(self) -> bool:
        return self._limit is None or len(self._running) < self._limit

    def _start(self, name: str) -> None:
        self._running[name] = self._task.options(name=name).remote(*self._arguments, name)

    def _running_jobs(self) -> Collection[str]:
        return self._running

    def _interrupt(self, name: str) -> None:
        self._ray.cancel(self._running[name], force=False)


def _run_in_task(folder: str, trust: bool, cwd: str, name: str) -> str | None:
    os.chdir(cwd)  # relative paths start from there
    return run_job(Path(folder), name, trust)


def _connect(ray: Any, address: str) -> None:
    """Connect to the cluster. Raises ConfigError if `address` is malformed, DigitnetError if no cluster answers."""
    setting = f"hydra.launcher.address={address}"
    advice = "start one with `ray start --head`, or set hydra.launcher.address=HOST:PORT"
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not (colon and host and port.isdigit()):
            raise ConfigError(f"{setting}: is not HOST:PORT, nor auto")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()  # Ray itself would retry for minutes
        except (OSError, OverflowError) as error:
            raise DigitnetError(f"{setting}: no Ray cluster answers there ({error});\n{advice}") from error
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        # Ray puts the working directory first on the import path of the workers, where any file could pose as a module.
        with warnings.catch_warnings(action="ignore"), contextlib.chdir(Path.cwd().anchor):
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = one_line(error).partition(". ")[0]
        raise DigitnetError(f"{setting}: no Ray cluster answers ({why});\n{advice}") from error
    finally:
        signal.signal(signal.SIGTERM, terminate)  # Ray's handler would end the process at once, without checkpoints
