"""A tracker for tests, which notes what it is told; `fake_trackers` puts it where the tracker's process imports it."""

import json
from pathlib import Path
from typing import Any

import pytest

CODE = """
import json, os, time
from dataclasses import asdict


class FakeTracker:
    package = "pytest"
    address = None

    def __init__(self, notes, fault="", name="fake"):
        self.notes, self.fault, self.name = str(notes), fault, name

    def note(self, kind, content):
        with open(self.notes, "a") as file:
            file.write(json.dumps([kind, content], default=str) + "\\n")
        if self.fault == f"{kind} raises":
            raise ConnectionError("the server is gone\\nsecond line")
        if self.fault == f"{kind} exits":
            os._exit(3)
        if self.fault == f"{kind} hangs":
            time.sleep(1000)
        if self.fault == f"{kind} prints":
            print("noise " * 100_000)

    def start(self, run, previous):
        self.note("start", {**asdict(run), "previous": previous})
        return "new" if previous is None or self.fault == "is new" else previous

    def log(self, axis, number, values):
        self.note(axis, [number, dict(values)])

    def end(self, outcome):
        self.note("end", asdict(outcome))
"""


def fake_trackers(monkeypatch: pytest.MonkeyPatch, faults: list[str]) -> list[Path]:
    """Let every run have one fake tracker for each of `faults`; returns their notes' files."""
    Path("modules").mkdir(exist_ok=True)
    Path("modules/fake_tracker.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(Path("modules").resolve()))
    monkeypatch.setenv("PYTHONPATH", str(Path("modules").resolve()), prepend=":")
    import fake_tracker  # type: ignore[import-not-found]

    files = [Path(f"notes{number}.jsonl").resolve() for number in range(len(faults))]
    made = [
        fake_tracker.FakeTracker(file, fault, f"fake{number}")
        for number, (file, fault) in enumerate(zip(files, faults, strict=True))
    ]
    monkeypatch.setattr("digitnet.experiment.build.trackers", lambda _: made)
    return files


def read_notes(path: Path) -> list[tuple[str, Any]]:
    """[("start", …), ("epoch", [1, {…}]), …, ("end", …)]"""
    return [(kind, content) for kind, content in map(json.loads, path.read_text().splitlines())]


def numbers(path: Path, kind: str = "epoch") -> list[int]:
    """Of the epochs, or steps, that were sent."""
    return [content[0] for name, content in read_notes(path) if name == kind]
