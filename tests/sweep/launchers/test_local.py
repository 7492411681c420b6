"""Jobs on this machine: how their processes begin, are asked to end, and are noticed to have ended."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.config.files import Tree
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.errors import DigitnetError
from digitnet.sweep.launchers import processes
from digitnet.sweep.launchers.local import LocalLauncher
from digitnet.sweep.launchers.processes import ForkServer, Spawner
from digitnet.sweep.plan import plan_sweep
from forking import FORKS
from sweeping import CUSTOM, NETWORK, SWEEP, status_of, summary_of, wait_for

pytestmark = pytest.mark.slow
NAMES = ["seed=0", "seed=1"]
Make = Callable[..., LocalLauncher]


@pytest.fixture
def make_launcher() -> Iterator[Make]:
    """`make_launcher(*overrides)`: with room for two jobs of a sweep over two seeds; none has been submitted."""
    made: list[LocalLauncher] = []

    def make(*overrides: str) -> LocalLauncher:
        write(Path("mine.py"), NETWORK)
        plan = plan_sweep([*TINY, *overrides, "trainer.threads=1", "seed=0,1", "hydra.sweep.dir=sweep"], Tree.at())
        with plan.claimed():
            plan.write_down(plan.jobs(plan.request.combinations()))
        options = LocalLauncherConfig(name="local", jobs=2, threads=1, gpus=1.0)
        made.append(LocalLauncher(SWEEP.absolute(), options, 2, trust=True))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


def ends(launcher: LocalLauncher, *names: str) -> dict[str, str | None]:
    """The reasons of these jobs, when they have ended."""
    ended: dict[str, str | None] = {}
    wait_for(lambda: bool(ended.update(launcher.poll(0.1))) or len(ended) >= len(names))
    assert set(ended) == set(names)
    return ended


def begun(*names: str) -> bool:
    return all(status_of(name) == "running" for name in names)


def process_of(name: str) -> int:
    summary = summary_of(name)
    assert summary is not None
    return int(summary.process["pid"])


def server_of(launcher: LocalLauncher) -> int:
    assert isinstance(launcher._jobs, ForkServer)
    assert launcher._jobs._process is not None
    return launcher._jobs._process.pid


def with_killed_server(make_launcher: Make) -> LocalLauncher:
    """A launcher whose two jobs run, and wait; the process that they were forked from is killed."""
    launcher = make_launcher(*WAITING)
    launcher.submit(NAMES)
    wait_for(lambda: begun(*NAMES))
    os.kill(server_of(launcher), signal.SIGKILL)
    return launcher


WAITING = [*CUSTOM, "model.kwargs={how: waits}", "trainer.epochs=2"]


@pytest.mark.skipif(not FORKS, reason="jobs are not forked here")
def test_jobs_go_on_without_the_process_that_they_were_forked_from(make_launcher: Make) -> None:
    launcher = with_killed_server(make_launcher)
    Path("go").touch()
    assert ends(launcher, *NAMES) == dict.fromkeys(NAMES, "its process was killed")  # nobody learnt the exit codes
    assert [status_of(name) for name in NAMES] == ["finished", "finished"]
    shutil.rmtree(SWEEP / "seed=0")
    launcher.submit(["seed=0"])  # forked from a new process
    assert ends(launcher, "seed=0") == {"seed=0": None}
    assert status_of("seed=0") == "finished"


@pytest.mark.skipif(not FORKS, reason="jobs are not forked here")
def test_jobs_are_interrupted_without_the_process_that_they_were_forked_from(make_launcher: Make) -> None:
    launcher = with_killed_server(make_launcher)
    os.kill(process_of("seed=1"), signal.SIGKILL)
    assert launcher.stop() == []
    ends(launcher, *NAMES)
    assert status_of("seed=0") == "interrupted"


def test_job_whose_sweep_is_gone_writes_a_checkpoint_and_ends(make_launcher: Make) -> None:
    launcher = make_launcher(*WAITING)
    launcher.submit(["seed=0"])
    wait_for(lambda: begun("seed=0"))
    launcher._running["seed=0"][0].close()  # as the system does when the sweep's process ends, however it does
    launcher._running.clear()
    wait_for(lambda: status_of("seed=0") == "interrupted")


@pytest.mark.skipif(not FORKS, reason="jobs are not forked here")
def test_job_whose_sweep_is_gone_before_it_begins_ends_without_a_word(make_launcher: Make) -> None:
    make_launcher()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = processes._command("serve_forks", [str(SWEEP.absolute()), "1"])
    with subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True) as server:
        lifeline_end, lifeline = os.pipe()
        events, events_end = os.pipe()
        os.close(lifeline)
        os.close(events)
        socket.send_fds(ours, [json.dumps(["seed=0", 0]).encode()], [lifeline_end, events_end])
        os.close(lifeline_end)
        os.close(events_end)
        ours.close()
        theirs.close()
        _, err = server.communicate(timeout=120)
    assert err == b""


def test_jobs_that_have_not_begun_are_not_waited_for(make_launcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], connection: socket.socket) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "1000"], stdin=connection.fileno()))  # as if it imported torch
        return started[0]

    monkeypatch.setattr(processes, "start_server", start)
    launcher = make_launcher()
    launcher.submit(NAMES)
    assert launcher.poll(0) == {}
    assert launcher.stop() == []
    assert ends(launcher, *NAMES) == dict.fromkeys(NAMES)  # no failures
    assert started[0].wait() == -signal.SIGKILL


def test_fork_server_that_cannot_live_is_reported(make_launcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "start_server", lambda *_: subprocess.Popen(["true"]))
    launcher = make_launcher()
    with pytest.raises(DigitnetError) as error:
        launcher.submit(NAMES)
    assert str(error.value) == (
        "hydra/launcher=local: the process that jobs are forked from ends at once; "
        "HYDRA_FULL_ERROR=1 digitnet, without -m, may show why"
    )


def test_jobs_in_new_interpreters(make_launcher: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows, where processes with threads cannot be forked."""
    launcher = make_launcher(*WAITING)
    launcher._jobs = Spawner(SWEEP.absolute(), trust=True)
    write(Path("random.py"), "open('executed', 'w')\n")
    launcher.submit(["seed=0"])
    wait_for(lambda: begun("seed=0"))
    launcher.stop()
    assert ends(launcher, "seed=0") == {"seed=0": None}
    assert status_of("seed=0") == "interrupted"
    assert not Path("executed").exists()
    launcher.submit(["seed=0"])
    wait_for(lambda: begun("seed=0"))
    launcher.close()
    assert ends(launcher, "seed=0") == {"seed=0": "killed by SIGKILL"}


def test_failure_may_be_longer_than_what_a_pipe_holds(make_launcher: Make) -> None:
    write(Path("long.py"), "def Net():\n    raise RuntimeError('x' * 1_000_000)\n")
    launcher = make_launcher("model=custom", "model.target=long:Net", "model.kwargs={}")
    launcher.submit(["seed=0"])
    (failure,) = ends(launcher, "seed=0").values()
    assert failure is not None
    assert "model.target=long:Net: " in failure


def test_job_whose_folder_was_removed_begins_again(make_launcher: Make) -> None:
    launcher = make_launcher()
    shutil.rmtree(SWEEP / "seed=0")
    launcher.submit(["seed=0"])
    assert ends(launcher, "seed=0") == {"seed=0": None}
    assert status_of("seed=0") == "finished"


def test_removed_sweep_is_the_reason_that_its_jobs_give(make_launcher: Make) -> None:
    launcher = make_launcher()
    shutil.rmtree(SWEEP)
    launcher.submit(NAMES)
    assert ends(launcher, *NAMES) == dict.fromkeys(NAMES, "the sweep's folder was removed")


def test_sweep_starts_where_the_path_of_temporary_files_is_long(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Longer than what the path of a socket may be."""
    folder = tmp_path / ("t" * 130)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    done = command("-m", *TINY, "trainer.epochs=1", "seed=0,1", "hydra.sweep.dir=sweep", "hydra/launcher=local")
    assert (done.code, done.err) == (0, "")
