"""The GitHub workflow and the pre-commit hooks find a wrong configuration."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import CHECKOUT, Command, write

pytestmark = pytest.mark.slow


def parsed(name: str) -> Any:
    return yaml.safe_load((CHECKOUT / name).read_text())


def test_workflow_annotates_the_wrong_line(command: Command) -> None:
    steps = parsed(".github/workflows/validate.yml")["jobs"]["validate"]["steps"]
    (call,) = (step["run"] for step in steps if step.get("run", "").startswith("digitnet"))
    write(Path("conf/aug/mine.yaml"), "defaults: [distort]\nshift: 2\n")
    done = command(*shlex.split(call)[1:])
    assert done.code == 2
    assert done.out.startswith("::error file=conf/aug/mine.yaml,line=2,title=digitnet validate::aug.shift=2: should")


def test_hooks_stop_a_wrong_commit(command: Command) -> None:
    calls = set()  # of both one, which takes seconds
    for name in (".pre-commit-config.yaml", ".pre-commit-hooks.yaml"):
        content = parsed(name)
        (hook,) = content if isinstance(content, list) else content["repos"][0]["hooks"]
        assert re.match(hook["files"], "conf/aug/mine.yaml")
        assert not re.match(hook["files"], "README.md")
        calls.add(hook["entry"].removeprefix("./dev run ").removeprefix("digitnet "))
    write(Path("conf/aug/mine.yaml"), "defaults: [distort]\nshift: 2\n")
    for call in calls:
        assert command(*call.split()).code == 2


def test_edits_of_conf_are_used_at_once() -> None:
    """In an editable install, conf/ at the top level is the packaged one."""
    code = "from importlib.resources import files; print(files('digitnet.conf'))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    assert Path(found) == CHECKOUT / "conf"
