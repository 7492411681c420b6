"""Installed completion: a real bash, zsh or fish completes."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import Command

BIN = str(Path(sys.executable).parent)


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.execvp(command[0], command)  # the child: a shell
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, path: Path, seconds: float = 60) -> str:
        """The file that what was typed writes, when it is whole."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:  # what nobody reads would stop the shell
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
            if path.exists() and path.read_text().endswith("\n"):
                return path.read_text()
        raise AssertionError(self.seen)

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.fd)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture(params=["bash", "zsh", "fish"])
def terminal(request: pytest.FixtureRequest, home: Path) -> Iterator[Terminal]:
    """A shell in which one command has installed the completion."""
    shell = request.param
    if shutil.which(shell) is None:
        assert shell != "bash"
        pytest.skip(f"no {shell} here")
    (home / f".{shell}rc").write_text("PS1='$ '")  # without an end of line
    for _ in range(2):  # the second time adds nothing
        subprocess.run(["digitnet", "completion", "install", shell], check=True, capture_output=True)
    if shell != "fish":
        assert (home / f".{shell}rc").read_text().count("digitnet completion") == 1
    terminal = Terminal(shell, "-i")
    yield terminal
    terminal.close()


@pytest.mark.slow
def test_real_shell_completes(terminal: Terminal) -> None:
    terminal.type("echo 1 > ready\n")
    terminal.wait_for(Path("ready"))
    terminal.type("digitnet mode\t=allc\taug=distort_l\taug.warm\t1 trai\tprec\tbf\t--cfg job > out; echo 1 > done\n")
    terminal.wait_for(Path("done"))
    config = yaml.safe_load(Path("out").read_text())
    assert (config["model"]["name"], config["aug"]["warmup_epochs"], config["trainer"]["precision"]) == (
        "allconv",
        1,
        "bf16",
    ), terminal.seen


def test_home_that_cannot_be_written_is_an_error(command: Command, home: Path) -> None:
    (home / ".local").write_text("")
    done = command("completion", "install", "bash")
    assert (done.code, done.err) == (1, f"error: {home}/.local/share/digitnet: Not a directory\n")


@pytest.mark.slow
def test_bash_quotes_and_does_not_expand(home: Path) -> None:
    for name in ("my runs", "my*"):
        Path(name).mkdir()
    Path("mystery").write_text("")  # what `my*` would match
    (home / ".bashrc").write_text("PS1='$ '; bind 'set completion-ignore-case off'\n")
    subprocess.run(["digitnet", "completion", "install", "bash"], check=True, capture_output=True)
    terminal = Terminal("bash", "-i")
    try:
        terminal.type("echo 1 > ready\n")
        terminal.wait_for(Path("ready"))
        terminal.type("digitnet data=folder data.root=my\\ \t --cfg job > out; echo 1 > done\n")
        terminal.wait_for(Path("done"))
        assert yaml.safe_load(Path("out").read_text())["data"]["root"] == "my runs/", terminal.seen
    finally:
        terminal.close()
