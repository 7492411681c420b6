"""Formats the findings of `digitnet validate` as text, as JSON, and as annotations of a GitHub workflow."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from digitnet.errors import Fault
from digitnet.text import plural


@dataclass(frozen=True)
class Finding:
    """A fault or a warning, and the overrides of the composition that has it, as typed on the command line."""

    severity: Literal["error", "warning"]
    fault: Fault
    composition: str = ""


def as_text(findings: Sequence[Finding], checked: int) -> Iterator[str]:
    """A line per finding, as compilers write them: `conf/aug/mine.yaml:3: message [aug=mine]`.

    `checked` is the number of configurations.
    """
    for finding in findings:
        fault = finding.fault
        place = f"{fault.place}: " if fault.file else ""
        warning = "warning: " if finding.severity == "warning" else ""
        label = f" [{finding.composition}]" if finding.composition else ""
        yield f"{place}{warning}{fault.message}{label}".replace("\n", " ")  # one line each, for other programs
    if not any(finding.severity == "error" for finding in findings):
        yield f"{plural(checked, 'configuration')}, no fault"


def as_json_report(findings: Sequence[Finding], checked: int) -> Iterator[str]:
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
    yield json.dumps({"checked": checked, "findings": rows}, indent=2)


def as_github(findings: Sequence[Finding], checked: int) -> Iterator[str]:
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


FORMATS: dict[str, Callable[[Sequence[Finding], int], Iterator[str]]] = {
    "text": as_text,
    "json": as_json_report,
    "github": as_github,
}
