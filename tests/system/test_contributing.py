"""CONTRIBUTING.md's edits for something new are carried out in a copy of the checkout, and the result is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT, TINY

pytestmark = pytest.mark.engine

DOCUMENT = (CHECKOUT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## An? (\w+)\n(.*?)(?=^## )", DOCUMENT, flags=re.MULTILINE | re.DOTALL))
KINDS = ["network", "optimizer", "tracker", "subcommand", "launcher"]


def blocks(body: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", body, flags=re.MULTILINE | re.DOTALL)


def carry_out(body: str, copy: Path) -> None:
    """New files as they are; of a diff, the lines that it expects must be there once."""
    for block in [*blocks(body, "python"), *blocks(body, "yaml")]:
        first, _, content = block.partition("\n")
        path = copy / first.removeprefix("# ")
        assert not path.exists(), path
        path.write_text(content)
    for block in blocks(body, "diff"):
        header, *lines = block.splitlines()
        path = copy / header.removeprefix("--- ")
        before = "\n".join(line[1:] for line in lines if line[:1] != "+")
        after = "\n".join(line[1:] for line in lines if line[:1] != "-")
        text = path.read_text()
        assert text.count(f"{before}\n") == 1, f"{path}:\n{before}"
        path.write_text(text.replace(f"{before}\n", f"{after}\n"))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the edits of all sections."""
    folder = tmp_path_factory.mktemp("copy")
    listed = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("the checkout is no git repository: its files cannot be listed")
    for name in listed.stdout.splitlines():
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, folder / name)
    (folder / "src" / "digitnet" / "conf").symlink_to(folder / "conf")
    for kind in KINDS:
        carry_out(SECTIONS[kind], folder)
    return folder


def in_copy(copy: Path, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Python, with the copy's package in place of the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


RUN_ALL = """
import contextlib, io, json, sys
from digitnet import cli
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(line)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def test_every_kind_has_a_section() -> None:
    assert list(SECTIONS) == KINDS


def test_what_the_sections_add_runs(copy: Path) -> None:
    """The command of each section, in one process, which imports torch once."""
    lines = []
    for kind in KINDS:
        ((*command,),) = [block.split() for block in blocks(SECTIONS[kind], "sh")]
        assert command[0] == "digitnet"
        lines.append([*command[1:], *(TINY if kind != "subcommand" else [])])
    lines[-1] += ["hydra.sweep.dir=sweep"]
    lines.append(["validate"])
    lines.append(["--help"])
    done = in_copy(copy, "-c", RUN_ALL, json.dumps(lines))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result[0] for result in results] == [0] * len(lines), (results, done.stderr)
    network, optimizer, tracker, subcommand, launcher, validated, helped = (out for _, out, _ in results)
    assert "model: linear, 7,850 parameters" in network
    assert "training: nadam lr 0.002" in optimizer
    assert "test accuracy" in tracker
    (epochs,) = Path("outputs").glob("*/*/epochs.jsonl")
    written = [json.loads(line) for line in epochs.read_text().splitlines()]
    assert [line.get("epoch", line.get("status")) for line in written] == [1, 2, "finished"]
    assert subcommand == "3 finished\n"
    assert "seed=1: " in launcher
    assert {path.name for path in Path("sweep").iterdir() if path.is_dir()} == {"seed=0", "seed=1"}
    assert "no fault" in validated
    for word in ("linear", "nadam", "lines", "count", "blocking"):
        assert word in helped


def test_copy_keeps_the_architecture_and_the_types(copy: Path) -> None:
    """The edits hold what CI holds: rooms, names, lint, types."""
    for arguments in (
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_architecture.py"],
        ["-m", "ruff", "check", "--no-cache", "src"],
        ["-m", "ruff", "format", "--no-cache", "--check", "src"],
        ["-m", "mypy", "--cache-dir", str(CHECKOUT / ".mypy_cache"), "src"],
    ):
        done = in_copy(copy, *arguments, cwd=copy)
        assert done.returncode == 0, done.stdout + done.stderr
