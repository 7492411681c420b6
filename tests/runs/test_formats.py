"""metrics.csv and summary.json: the contract's names, and what is written is read back."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digitnet.atomic import write_atomically
from digitnet.runs import formats
from digitnet.runs.formats import RunSummary, read_metrics, read_summary, write_metrics, write_summary
from digitnet.training.record import EpochRecord

RECORDS = [
    EpochRecord(1, 1.0, 2.3, 0.1, 0.1 + 0.2, 0.5, 5.5, 10909.1),
    EpochRecord(2, 0.8, 0.2, 0.9, 0.1, 0.95, 5.0, 1e4),
]


def test_metrics_round_trip_and_names(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", RECORDS)
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert header == "epoch,lr,train_loss,train_acc,val_loss,val_acc,epoch_seconds,images_per_second"
    assert read_metrics(tmp_path / "metrics.csv") == RECORDS


def test_summary_round_trip_and_names(tmp_path: Path) -> None:
    summary = RunSummary(status="running", command="digitnet", seed=0, versions={"torch": "2.11"}, git=None)
    write_summary(tmp_path / "summary.json", summary)
    assert read_summary(tmp_path / "summary.json") == summary
    contract = "status dataset model parameters seed device epochs final best test seconds versions git command"
    assert set(contract.split()) <= json.loads((tmp_path / "summary.json").read_text()).keys()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new and only half")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # no half file in the way


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, name, folder: in another order a loss of power could leave an empty file, or none, under the name."""
    seen: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            of = Path(f"/proc/self/fd/{arguments[0]}").readlink() if name == "fsync" else arguments[1]
            seen.append(f"{name} {of.name}")
            return function(*arguments)

        return call

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    write_atomically(tmp_path / "last.pt", b"new")
    assert seen == [f"fsync {formats.SCRATCH_PREFIX}last.pt", "replace last.pt", f"fsync {tmp_path.name}"]
