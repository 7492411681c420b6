"""Tab completion: what is offered, and that a real bash offers it."""

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

from conftest import Command, write
from digitnet.commands.completion_command import candidates
from digitnet.report.shell_completion import SCRIPTS

BIN = str(Path(sys.executable).parent)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("digitnet mod", ["model.", "model="]),
        ("digitnet model=", ["model=allconv", "model=custom", "model=fastnet", "model=lenet5"]),
        ("digitnet model=le", ["model=lenet5"]),
        ("digitnet aug=distort aug.w", ["aug.warmup_epochs="]),  # of the option that is chosen
        ("digitnet aug.w", []),
        ("digitnet experiment=allconv optimizer.a", ["optimizer.alpha="]),
        ("digitnet optimizer=adam optimizer.", ["optimizer.betas=", "optimizer.eps=", "optimizer.lr="]),
        ("digitnet tr", ["tracker.", "tracker=", "trainer."]),
        ("digitnet trainer.precision=", ["trainer.precision=bf16", "trainer.precision=fp32"]),
        ("digitnet optimizer.nesterov=", ["optimizer.nesterov=false", "optimizer.nesterov=true"]),
        ("digitnet trainer.threads=", ["trainer.threads=null"]),
        ("digitnet -m model=lenet5,al", ["model=lenet5,allconv"]),
        ("digitnet val", ["validate"]),
        ("digitnet seed=1 val", []),  # a command comes first
        ("digitnet validate --f", ["--format"]),
        ("digitnet validate --format ", ["github", "json", "text"]),
        ("digitnet validate model=le", ["model=lenet5"]),
        ("digitnet --cfg ", ["all", "hydra", "job"]),
        ("digitnet --mu", ["--multirun"]),
        ("digitnet --config-dir co", ["conf/"]),
        ("digitnet init_from=conf/o", ["init_from=conf/optimizer/"]),
        ("digitnet optimizer=sl", ["optimizer=slow"]),
        ("digitnet --config-dir more optimizer=q", ["optimizer=quick"]),
        ("digitnet -m seed=1,2 optimizer=adam,sgd optimizer.b", ["optimizer.betas="]),
        ("digitnet optimizer=nope seed=x trainer.b", ["trainer.batch_size="]),
        ("digitnet +se", ["+seed="]),
        ("digitnet completion ", ["bash", "fish", "install", "zsh"]),
        ("digitnet resume co", ["conf/"]),
        ("digitnet resume --trust more/", ["more/optimizer/"]),
        ("digitnet compare co", ["conf/"]),
        ("digitnet tune optimizer=ad", ["optimizer=adam", "optimizer=adamw"]),
        ("digitnet -m hydra/launcher=s", ["hydra/launcher=serial", "hydra/launcher=slurm"]),
        ("digitnet resume here tr", ["tracker=", "trainer."]),
        ("digitnet resume here trainer.e", ["trainer.epochs="]),
        ("digitnet resume here optimizer.l", []),  # a run goes on as it began
        ("digitnet modle=", []),
        ("digitnet 'broken mod", ["model.", "model="]),
        ("digitnet", []),
    ],
)
def test_candidates(line: str, words: list[str]) -> None:
    write(Path("conf/optimizer/slow.yaml"), "defaults: [sgd]\nlr: 0.001\n")
    write(Path("more/optimizer/quick.yaml"), "defaults: [sgd]\nlr: 1\n")
    found = candidates(line)
    if line == "digitnet optimizer=adam optimizer.":
        assert set(words) <= set(found)
    elif line != "digitnet":
        assert found == words
    assert all("\n" not in word for word in found)


def test_everything_is_offered_at_the_start() -> None:
    assert {"validate", "model=", "experiment=", "seed=", "trainer.", "aug."} <= set(candidates("digitnet "))


def test_a_broken_config_is_no_traceback(command: Command) -> None:
    write(Path("conf/config.yaml"), "defaults: [")
    done = command("completion", "query", "digitnet tr")
    assert (done.code, done.err) == (0, "")


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


def test_a_real_shell_completes(terminal: Terminal) -> None:
    terminal.type("echo 1 > ready\n")
    terminal.wait_for(Path("ready"))
    terminal.type("digitnet mode\t=allc\taug=dis\taug.warm\t1 trai\tprec\tbf\t--cfg job > out; echo 1 > done\n")
    terminal.wait_for(Path("done"))
    config = yaml.safe_load(Path("out").read_text())
    assert (config["model"]["name"], config["aug"]["warmup_epochs"], config["trainer"]["precision"]) == (
        "allconv",
        1,
        "bf16",
    ), terminal.seen


def test_the_scripts_are_printed(command: Command) -> None:
    for shell, script in SCRIPTS.items():
        assert command("completion", shell).out == script


def test_wrong_shells(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert command("completion", "install").err == (
        "error: no completion for the shell 'tcsh'; write digitnet completion install bash, zsh or fish\n"
    )
    assert command("completion", "tcsh").err.startswith("error: argument install|bash|zsh|fish: invalid choice: 'tcsh'")
    assert command("completion", "bash", "zsh").err.startswith("error: 'zsh': nothing stands behind bash")


def test_a_home_that_cannot_be_written(command: Command, home: Path) -> None:
    (home / ".local").write_text("")
    done = command("completion", "install", "bash")
    assert (done.code, done.err) == (1, f"error: {home}/.local/share/digitnet: Not a directory\n")
