"""Formats the findings of `digitnet validate`: for people, for programs, for services that run checks."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote
from xml.etree import ElementTree

from digitnet.errors import Fault
from digitnet.text import plural, printable
from digitnet.version import __version__

SARIF_RULE = "configuration"


@dataclass(frozen=True)
class Finding:
    """A fault or a warning, and the overrides of the composition that has it, as typed on the command line."""

    severity: Literal["error", "warning"]
    fault: Fault
    composition: str = ""


def as_text(findings: Sequence[Finding], compositions: Sequence[str]) -> Iterator[str]:
    """A line per finding, as compilers write them: `conf/aug/mine.yaml:3: message [aug=mine]`.

    `compositions` are all that were checked.
    """
    for finding in findings:
        fault = finding.fault
        place = f"{fault.place}: " if fault.file else ""
        warning = "warning: " if finding.severity == "warning" else ""
        label = f" [{finding.composition}]" if finding.composition else ""
        yield f"{place}{warning}{fault.message}{label}".replace("\n", " ")  # one line each, for other programs
    if not any(finding.severity == "error" for finding in findings):
        yield f"{plural(len(compositions), 'configuration')}, no fault"


def as_json_report(findings: Sequence[Finding], compositions: Sequence[str]) -> Iterator[str]:
    """`{"checked": 40, "findings": [{"severity": …, "file": …, "line": …, "key": …, "message": …, …}]}`."""
    rows = [
        {
            "severity": finding.severity,
            "file": str(fault.file) if (fault := finding.fault).file else None,
            "line": fault.line,
            "key": fault.key or None,
            "message": fault.message,
            "composition": finding.composition,
        }
        for finding in findings
    ]
    yield json.dumps({"checked": len(compositions), "findings": rows}, indent=2)


def as_github(findings: Sequence[Finding], _: Sequence[str]) -> Iterator[str]:
    """Workflow commands: https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    for finding in findings:
        fault = finding.fault
        parts = {"file": fault.place.removesuffix(f":{fault.line}"), "line": fault.line, "title": "digitnet validate"}
        properties = ",".join(f"{key}={_escape(str(value), ':,')}" for key, value in parts.items() if value)
        label = f" [{finding.composition}]" if finding.composition else ""
        yield f"::{finding.severity} {properties}::{_escape(fault.message + label)}"


def _escape(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def as_sarif(findings: Sequence[Finding], _: Sequence[str]) -> Iterator[str]:
    """SARIF 2.1.0, which code scanning reads (OASIS, "Static Analysis Results Interchange Format", 2020)."""

    def result(finding: Finding) -> dict[str, Any]:
        fault = finding.fault
        label = f" [{finding.composition}]" if finding.composition else ""
        row: dict[str, Any] = {
            "ruleId": SARIF_RULE,
            "level": finding.severity,
            "message": {"text": fault.message + label},
        }
        if fault.file is not None:
            place: dict[str, Any] = {"artifactLocation": {"uri": quote(fault.place.removesuffix(f":{fault.line}"))}}
            place |= {"region": {"startLine": fault.line}} if fault.line else {}
            row["locations"] = [{"physicalLocation": place}]
        return row

    driver = {"name": "digitnet validate", "version": __version__, "rules": [{"id": SARIF_RULE}]}
    run = {"tool": {"driver": driver}, "results": [result(finding) for finding in findings]}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    yield json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def as_junit(findings: Sequence[Finding], compositions: Sequence[str]) -> Iterator[str]:
    """JUnit's XML, which CI services show as tests: a test for each composition, and for each file that is in none."""
    by_test: dict[str, list[Finding]] = {label or "config": [] for label in compositions}
    for finding in findings:
        by_test.setdefault(finding.composition or finding.fault.place or "config", []).append(finding)
    failures = sum(any(finding.severity == "error" for finding in its) for its in by_test.values())
    suite = ElementTree.Element("testsuite", name="digitnet validate", tests=str(len(by_test)), failures=str(failures))
    for name, its_findings in by_test.items():
        test = ElementTree.SubElement(suite, "testcase", classname="digitnet", name=printable(name))
        for severity, tag in (("error", "failure"), ("warning", "system-out")):
            texts = [printable(str(finding.fault)) for finding in its_findings if finding.severity == severity]
            if texts:
                part = ElementTree.SubElement(test, tag, {"message": texts[0]} if tag == "failure" else {})
                part.text = "\n".join(texts)
    ElementTree.indent(suite)
    yield ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


FORMATS: dict[str, Callable[[Sequence[Finding], Sequence[str]], Iterator[str]]] = {
    "text": as_text,
    "json": as_json_report,
    "github": as_github,
    "sarif": as_sarif,
    "junit": as_junit,
}
