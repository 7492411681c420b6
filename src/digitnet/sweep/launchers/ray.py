"""Jobs on a Ray cluster, as tasks that ask for CPUs and shares of GPUs."""

import signal
import socket
import warnings
from collections import deque
from pathlib import Path
from typing import Any

from digitnet.config.schema import RayLauncherConfig
from digitnet.errors import ConfigError, DigitnetError
from digitnet.sweep.worker import run_job
from digitnet.text import one_line

CONNECT_SECONDS = 5.0


class RayLauncher:
    """A launcher, see `drive.Launcher`. Where a worker dies Ray begins the job again, which goes on."""

    def __init__(self, folder: Path, options: RayLauncherConfig, trust: bool) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError("hydra/launcher=ray: Ray is not installed; pip install 'digitnet[ray]'") from None
        self._ray: Any = ray
        self._arguments = str(folder), trust
        self._jobs, self._waiting = options.jobs, deque[str]()
        self._running: dict[Any, str] = {}
        _connect(ray, options.address)
        self._work: Any = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus)(_work)

    def submit(self, names: list[str]) -> None:
        self._waiting += names
        self._fill()

    def _fill(self) -> None:
        while self._waiting and (self._jobs is None or len(self._running) < self._jobs):
            name = self._waiting.popleft()
            self._running[self._work.options(name=name).remote(*self._arguments, name)] = name

    def poll(self, seconds: float) -> dict[str, str | None]:
        ended: dict[str, str | None] = {}
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        for reference in ready:
            name = self._running.pop(reference)
            try:
                ended[name] = self._ray.get(reference)
            except self._ray.exceptions.TaskCancelledError:
                ended[name] = None  # its summary says it
            except Exception as error:  # Ray's own: the worker or its node died once too often
                ended[name] = one_line(error)
        self._fill()
        return ended

    def stop(self, names: list[str] | None = None) -> list[str]:
        dropped = [name for name in self._waiting if names is None or name in names]
        self._waiting = deque(name for name in self._waiting if name not in dropped)
        for reference, name in self._running.items():
            if names is None or name in names:
                self._ray.cancel(reference, force=False)
        return dropped

    def close(self) -> None:
        self._ray.shutdown()


def _work(folder: str, trust: bool, name: str) -> str | None:
    return run_job(Path(folder), name, trust)


def _connect(ray: Any, address: str) -> None:
    """Raises DigitnetError where no cluster answers."""
    what = f"hydra.launcher.address={address}"
    advice = "start one with `ray start --head`, or set hydra.launcher.address=HOST:PORT"
    if address != "auto":
        host, colon, port = address.rpartition(":")
        if not (colon and host and port.isdigit()):
            raise ConfigError(f"{what}: is not HOST:PORT, nor auto")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()  # Ray itself would try for minutes
        except (OSError, OverflowError) as error:
            raise DigitnetError(f"{what}: no Ray cluster answers there ({error});\n{advice}") from error
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = one_line(error).partition(". ")[0]
        raise DigitnetError(f"{what}: no Ray cluster answers ({why});\n{advice}") from error
    finally:
        signal.signal(signal.SIGTERM, terminate)  # Ray's own would leave at once
