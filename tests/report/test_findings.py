"""Findings as JSON and as annotations of a GitHub workflow."""

import json
from pathlib import Path

import pytest

from conftest import Command, write

pytestmark = pytest.mark.slow


def test_json_has_file_line_key_and_composition(command: Command) -> None:
    write(Path("conf/aug/y.yaml"), "defaults: [distort]\nrotation_deg: 400\n")
    done = command("validate", "--schema-only", "--format", "json", "aug=y")
    found = json.loads(done.out)
    assert found["checked"] == 1
    assert found["findings"] == [
        {
            "severity": "error",
            "file": str(Path("conf/aug/y.yaml").resolve()),
            "line": 2,
            "key": "aug.rotation_deg",
            "message": "aug.rotation_deg=400: should be less than or equal to 180",
            "composition": "aug=y",
        }
    ]
    assert json.loads(command("validate", "--schema-only", "--format", "json", "seed=1").out) == {
        "checked": 1,
        "findings": [],
    }


def test_github_annotations_are_escaped(command: Command) -> None:
    """As the workflow commands want it: % and line ends escaped, in properties also colons and commas."""
    write(Path("a,b/aug/c:d.yaml"), "defaults: [distort]\nrotation_deg: 100%\n")
    done = command("validate", "--schema-only", "--format", "github", "--config-dir", "a,b", "aug=c:d")
    assert done.out == (
        "::error file=a%2Cb/aug/c%3Ad.yaml,line=2,title=digitnet validate::"
        "aug.rotation_deg=100%25: should be a valid number [aug=c:d]\n"
    )
