"""metrics.csv and summary.json: the contract's names, and what is written is read back."""

import json
from pathlib import Path

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
