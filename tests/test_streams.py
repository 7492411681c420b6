"""Standard streams that are closed, full, gone, or of an encoding without most letters."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, Command, Outcome, summary_in, write
from digitnet import commands
from sweeping import CUSTOM, NETWORK, status_of, wait_for

SCRIPT = str(Path(sys.executable).with_name("digitnet"))


def in_shell(line: str, **variables: str) -> Outcome:
    """What a shell's line does, where `digitnet` is the console script."""
    environment = {**os.environ, **variables, "PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_full_output_is_named() -> None:
    for words in ("--version", "--help", "help optimizer"):
        done = in_shell(f"digitnet {words} > /dev/full")
        assert (done.code, done.err) == (1, "error: standard output: No space left on device\n")


def test_closed_output_is_no_error_and_no_file_gets_its_number() -> None:
    done = in_shell(f"digitnet {' '.join(TINY)} trainer.epochs=1 hydra.run.dir=run <&- >&-")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert summary_in(Path("run"))["status"] == "finished"
    assert (Path("run") / ".lock").read_bytes() == b""
    assert in_shell("digitnet nope >&- 2>&-") == Outcome(2, "", "")


def test_letters_that_the_encoding_does_not_have_are_escaped() -> None:
    write(Path("conf/optimizer/mine.yaml"), "# 数字.\ndefaults: [adam]\n")
    done = in_shell("digitnet help optimizer", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert r"optimizer=mine: \u6570\u5b57." in done.out


@pytest.mark.parametrize("columns", ["1", "5", "0"])
def test_narrow_terminal_gets_help(command: Command, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert command("--help").code == 0
    assert command("help", "optimizer").code == 0


def test_removed_working_directory_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path("../gone").rmdir()
    for arguments in (["data=digits"], ["validate"], ["compare", "x"]):
        done = command(*arguments)
        message = "error: the working directory: No such file or directory; change to one that exists\n"
        assert (done.code, done.err) == (1, message)


def test_broken_pipe_of_another_file_is_an_error(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, arguments: list[str]) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(commands, "run_command", fail)
    done = command("compare", "x")
    assert (done.code, done.err) == (1, "error: Broken pipe\n")


def test_closed_pipe_is_no_error() -> None:
    assert in_shell("digitnet help optimizer | true") == Outcome(0, "", "")


def test_home_that_cannot_be_written_to_is_not_complained_about() -> None:
    line = f"digitnet {' '.join(TINY)} trainer.epochs=1 logger=full hydra.run.dir=run"
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/proc")
    done = in_shell(line, **nowhere)
    assert (done.code, done.err) == (0, "")


def test_interrupt_during_the_import_prints_no_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'digitnet.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from digitnet.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_nothing_of_the_working_directory_is_imported_by_the_module_either() -> None:
    for name in ("random", "csv", "numpy", "rich", "signal"):
        write(Path(f"{name}.py"), "open('executed', 'w')\nraise ImportError('not that one')\n")
    words = [sys.executable, "-m", "digitnet", "validate", "--schema-only", "model=lenet5"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path("executed").exists()


@pytest.mark.engine
def test_closed_terminal_ends_a_run_with_a_checkpoint() -> None:
    write(Path("mine.py"), NETWORK)
    ours, theirs = pty.openpty()
    words = [SCRIPT, *TINY, *CUSTOM, "model.kwargs={how: waits}", "hydra.run.dir=sweep/run"]
    with Path("errors").open("w") as errors:
        process = subprocess.Popen(["setsid", "--ctty", *words], stdin=theirs, stdout=theirs, stderr=errors)
    os.close(theirs)
    wait_for(lambda: status_of("run") == "running" and Path("sweep/run/train.log").exists())
    wait_for(lambda: "\n 1/60 " in Path("sweep/run/train.log").read_text())
    os.close(ours)
    assert process.wait(30) == 130
    assert (
        Path("errors")
        .read_text()
        .startswith("Stopped in epoch 2 of 60; progress saved. Continue with:\ndigitnet resume ")
    )
    summary = summary_in(Path("sweep/run"))
    assert summary["status"] == "interrupted"
    assert Path("sweep/run/checkpoints/last.pt").exists()


@pytest.mark.engine
def test_run_goes_on_when_its_terminal_is_gone_but_no_signal_comes() -> None:
    """As after `nohup`, or `disown`."""
    ours, theirs = pty.openpty()
    words = [SCRIPT, *TINY, "data.enlarge_to=20000", "trainer.epochs=2", "hydra.run.dir=sweep/run"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for(lambda: Path("sweep/run/train.log").exists())
    os.close(ours)
    assert process.wait(60) == 0
    assert status_of("run") == "finished"
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
