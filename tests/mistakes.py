"""What tests of wrong configurations share: files below ./conf, what is typed, and the whole answer."""

import sys
from pathlib import Path

import pytest

from conftest import Command, write
from digitnet.experiment import run

FOREIGN = "./conf is read for digitnet's options; if it is another program's, use another working directory"
GLOBAL = "# @package _global_\n"
Mistake = tuple[dict[str, str | bytes], str, str]  # files, command line, answer, in which * stands for any text


def assert_answered(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    """Exit code 2 and the answer on at most four lines, nothing else; no run, and nothing imported from the folder."""
    if "data=digits" not in typed:  # found without a run
        monkeypatch.setattr(run, "run_experiment", lambda *_: None)
    Path("trap.py").write_text("open('sprung', 'w')\ndef spring(*_, **__): open('sprung', 'w')\n")
    for name, content in files.items():
        write(Path("conf") / name, content)
    done = command(*typed.split())
    start, star, end = f"error: {answer}\n".partition("*")
    assert done.err.startswith(start), done.err
    assert not star or done.err.endswith(end), done.err
    assert star or done.err == start
    assert not done.out
    assert done.code == 2
    assert len(done.err.splitlines()) <= 4
    assert "data=digits" in typed or not Path("outputs").exists()
    assert not Path("sprung").exists()
    assert "trap" not in sys.modules
