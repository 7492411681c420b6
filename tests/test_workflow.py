"""The GitHub workflow and the pre-commit hooks call what there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import CHECKOUT, Command, write


def parsed(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / name).read_text())


def test_the_workflow_annotates_a_wrong_line(command: Command) -> None:
    steps = parsed(".github/workflows/validate.yml")["jobs"]["validate"]["steps"]
    (call,) = (step["run"] for step in steps if step.get("run", "").startswith("digitnet"))
    write(Path("conf/aug/mine.yaml"), "defaults: [distort]\nshift: 2\n")
    done = command(*shlex.split(call)[1:])
    assert done.code == 2
    assert done.out.startswith("::error file=conf/aug/mine.yaml,line=2,title=digitnet validate::aug.shift=2: should")


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", ".pre-commit-hooks.yaml"])
def test_the_hooks_stop_a_wrong_commit(command: Command, name: str) -> None:
    content = parsed(name)
    (hook,) = content if isinstance(content, list) else content["repos"][0]["hooks"]
    assert re.match(hook["files"], "conf/aug/mine.yaml")
    assert not re.match(hook["files"], "README.md")
    arguments = hook["entry"].removeprefix("./dev run ").removeprefix("digitnet ").split()
    assert command(*arguments).code == 0
    write(Path("conf/aug/mine.yaml"), "defaults: [distort]\nshift: 2\n")
    assert command(*arguments).code == 2


def test_edits_of_the_checkouts_conf_are_seen_at_once() -> None:
    """In an editable install, conf/ at the top level is the packaged one."""
    code = "from importlib.resources import files; print(files('digitnet.conf'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    assert Path(found) == CHECKOUT / "conf"
