"""Processes of a sweep: which signals reach them, and what they import."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Command, write
from digitnet.runs.formats import read_summary
from digitnet.signals import AGAIN_SECONDS
from sweeping import CUSTOM, NETWORK, SWEEP, started, status_of, wait_for

pytestmark = pytest.mark.engine

SCRIPT = Path(sys.executable).with_name("digitnet")
WAITING = [
    *TINY,
    *CUSTOM,
    "model.kwargs={how: waits}",
    "trainer.epochs=3",
    "trainer.threads=1",
    "hydra.sweep.dir=sweep",
]
LOCAL = ["hydra.sweep.dir=sweep", "hydra/launcher=local", "hydra.launcher.jobs=1"]
LIKE_MODULES = ("random", "csv", "numpy", "selectors", "socket", "torch", "hydra", "multiprocessing", "sitecustomize")


@contextmanager
def sweeping(*prefix: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """`digitnet -m` over two seeds, of which the first waits, among files that are named like modules."""
    write(Path("mine.py"), NETWORK)
    for name in LIKE_MODULES:
        write(Path(f"{name}.py"), f"open('executed-{name}', 'w')\nraise ImportError('not that one')\n")
    words = [*prefix, str(SCRIPT), "-m", *WAITING, *LOCAL, "seed=0,1"]
    with subprocess.Popen(words, text=True, start_new_session=not prefix, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def processes_of(job: str) -> list[int]:
    """The job's process, and the one that it was forked from."""
    process = int(read_summary(SWEEP / job / "summary.json").process["pid"])
    return [process, int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])]


def are_gone(processes: list[int]) -> bool:
    return not any(Path(f"/proc/{process}").exists() for process in processes)


def epochs_of(job: str) -> int:
    return read_summary(SWEEP / job / "summary.json").epochs


def test_sigterm_to_the_process_group_ends_a_sweep_and_all_its_processes() -> None:
    """What `timeout` sends, and what stops a container."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with sweeping(**pipes) as process:
        wait_for(lambda: status_of("seed=0") == "running" and epochs_of("seed=0") == 0, process)
        processes = processes_of("seed=0")
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopping: saving each running job …\n" in out
    assert err == "Stopped by SIGTERM. Continue with:\ndigitnet resume sweep --trust\n"
    assert [status_of("seed=0"), status_of("seed=1")] == ["interrupted", "waiting"]
    wait_for(lambda: are_gone(processes))
    assert not list(Path().glob("executed-*"))  # nor was anything imported from the working directory


def test_closed_terminal_ends_a_sweep_with_checkpoints() -> None:
    ours, theirs = pty.openpty()
    with Path("out").open("w") as out, sweeping("setsid", "--ctty", stdin=theirs, stdout=theirs, stderr=out) as process:
        os.close(theirs)
        wait_for(lambda: status_of("seed=0") == "running", process)
        processes = processes_of("seed=0")
        os.close(ours)
        assert process.wait(30) == 130
    assert Path("out").read_text() == "Stopped by SIGHUP. Continue with:\ndigitnet resume sweep --trust\n"
    summary = read_summary(SWEEP / "seed=0" / "summary.json")
    assert (summary.status, status_of("seed=1")) == ("interrupted", "waiting")
    assert re.match(r"Stopped in epoch \d+ of 3; progress saved\. Continue", summary.error or "")
    wait_for(lambda: are_gone(processes))


def test_second_signal_kills_jobs_that_do_not_end_and_none_stays_running() -> None:
    write(Path("mine.py"), NETWORK.replace("time.sleep(1)", "open(f'deaf{os.getpid()}', 'w'), time.sleep(1000)"))
    with started("-m", *WAITING, *LOCAL, "hydra.launcher.jobs=2", "seed=0,1,2") as process:
        wait_for(lambda: len(list(Path().glob("deaf*"))) == 2, process)
        processes = processes_of("seed=0")
        process.send_signal(signal.SIGINT)
        time.sleep(AGAIN_SECONDS + 0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Stopped. Continue with:\ndigitnet resume sweep --trust\n")
    assert are_gone(processes)
    assert [status_of(f"seed={seed}") for seed in (0, 1, 2)] == ["failed", "failed", "waiting"]
    assert read_summary(SWEEP / "seed=1" / "summary.json").error == "killed when its sweep ended"


@pytest.mark.parametrize("victims", ["driver and server", "driver and job", "server and job"])
def test_whatever_is_killed_no_process_stays_and_the_sweep_can_be_resumed(victims: str, shell: Command) -> None:
    write(Path("mine.py"), NETWORK)
    with started("-m", *WAITING, *LOCAL, "seed=0,1") as process:
        wait_for(lambda: status_of("seed=0") == "running", process)
        processes = processes_of("seed=0")
        names = dict(zip(("job", "server", "driver"), [*processes, process.pid], strict=True))
        for name in victims.split(" and "):
            os.kill(names[name], signal.SIGKILL)
        if "driver" not in victims:
            wait_for(lambda: status_of("seed=1") == "running", process)  # from another server
            processes += processes_of("seed=1")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            assert "seed=0: failed: its process was killed" in out
            assert err == "Stopped. Continue with:\ndigitnet resume sweep --trust\n"
            assert status_of("seed=0") == "failed"
    wait_for(lambda: are_gone(processes))
    Path("go").touch()
    done = shell("resume", "sweep", "--trust")
    assert (done.code, done.err) == (0, "")
    assert [status_of("seed=0"), status_of("seed=1")] == ["finished", "finished"]
