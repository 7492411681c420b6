"""Launchers: one is made for each configuration; those that queue jobs themselves do it alike."""

import re
from collections.abc import Collection

from conftest import CHECKOUT, Command
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.sweep.launchers import make_launcher
from digitnet.sweep.launchers.launcher import QueueingLauncher
from digitnet.sweep.launchers.local import LocalLauncher
from digitnet.sweep.manifest import Sweep


class TwoSlots(QueueingLauncher):
    """Runs at most two jobs, until `end` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.interrupted: list[str] = []

    def end(self, name: str) -> None:
        self.running.remove(name)
        self.submit([])

    def _has_room(self) -> bool:
        return len(self.running) < 2

    def _start(self, name: str) -> None:
        self.running.append(name)

    def _running_jobs(self) -> Collection[str]:
        return self.running

    def _interrupt(self, name: str) -> None:
        self.interrupted.append(name)


def test_queued_jobs_start_in_order_when_there_is_room() -> None:
    launcher = TwoSlots()
    launcher.submit(["a", "b", "c"])
    launcher.submit(["d"])
    assert launcher.running == ["a", "b"]
    launcher.end("a")
    assert launcher.running == ["b", "c"]


def test_stop_returns_jobs_that_had_not_started() -> None:
    launcher = TwoSlots()
    launcher.submit(["a", "b", "c", "d"])
    assert launcher.stop(["b", "c"]) == ["c"]
    assert launcher.interrupted == ["b"]
    launcher.end("a")
    assert launcher.running == ["b", "d"]  # c will never start
    launcher.submit(["e"])
    assert launcher.stop() == ["e"]
    assert launcher.interrupted == ["b", "b", "d"]


def test_local_launcher_is_made_with_room_for_the_jobs_of_its_configuration() -> None:
    options = LocalLauncherConfig(name="local", jobs=3, threads=1, gpus=1.0)
    launcher = make_launcher(Sweep(CHECKOUT, "", "", options), trust=False, on_gpus=True)
    assert isinstance(launcher, LocalLauncher)
    assert launcher._free_slots == [0, 1, 2]


def test_help_describes_every_launcher(command: Command) -> None:
    done = command("help", "hydra/launcher")
    assert done.code == 0
    names = sorted(path.stem for path in (CHECKOUT / "conf/hydra/launcher").iterdir())
    assert re.findall(r"^hydra/launcher=(\w+): ", done.out, flags=re.MULTILINE) == names
    assert "  hydra.launcher.minutes=60 " in done.out
