"""Findings as JSON and as annotations of a GitHub workflow."""

import json
from pathlib import Path
from xml.etree import ElementTree

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


def test_sarif_has_a_result_with_its_line_for_each_finding(command: Command) -> None:
    write(Path("conf/aug/y z.yaml"), "defaults: [distort]\nrotation_deg: 400\n")
    done = command("validate", "--schema-only", "--format", "sarif", "aug=y z")
    log = json.loads(done.out)
    assert (done.code, log["version"]) == (2, "2.1.0")
    (run,) = log["runs"]
    assert run["tool"]["driver"]["name"] == "digitnet validate"
    message = "aug.rotation_deg=400: should be less than or equal to 180 [aug=y z]"
    place = {"artifactLocation": {"uri": "conf/aug/y%20z.yaml"}, "region": {"startLine": 2}}
    assert run["results"] == [
        {
            "ruleId": run["tool"]["driver"]["rules"][0]["id"],
            "level": "error",
            "message": {"text": message},
            "locations": [{"physicalLocation": place}],
        }
    ]
    typed = json.loads(command("validate", "--schema-only", "--format", "sarif", "seed=-1").out)
    assert "locations" not in typed["runs"][0]["results"][0]


def test_junit_has_a_test_for_each_composition(command: Command) -> None:
    write(Path("conf/aug/bad.yaml"), "# <Bad> & \x1b\ndefaults: [distort]\nrotation_deg: 400\n".replace("\x1b", ""))
    done = command("validate", "--schema-only", "--format", "junit")
    suite = ElementTree.fromstring(done.out.encode())
    tests = {case.get("name"): case for case in suite.findall("testcase")}
    assert (done.code, suite.get("failures"), suite.get("tests")) == (2, "1", str(len(tests)))
    assert {"config", "aug=distort", "optimizer=adam", "sweep=lr"} < {*tests}
    assert tests["aug=distort"].find("failure") is None
    failure = tests["aug=bad"].find("failure")
    assert failure is not None
    assert failure.text == "aug.rotation_deg=400: should be less than or equal to 180 (conf/aug/bad.yaml:3)"
    warned = command("validate", "--schema-only", "--format", "junit", "trainer.epochs=3")
    (case,) = ElementTree.fromstring(warned.out.encode()).findall("testcase")
    assert case.findtext("system-out", "").startswith("trainer.epochs=3 is less than the schedule's 20")


def test_github_annotations_are_escaped(command: Command) -> None:
    """As the workflow commands want it: % and line ends escaped, in properties also colons and commas."""
    write(Path("a,b/aug/c:d.yaml"), "defaults: [distort]\nrotation_deg: 100%\n")
    done = command("validate", "--schema-only", "--format", "github", "--config-dir", "a,b", "aug=c:d")
    assert done.out == (
        "::error file=a%2Cb/aug/c%3Ad.yaml,line=2,title=digitnet validate::"
        "aug.rotation_deg=100%25: should be a valid number [aug=c:d]\n"
    )
