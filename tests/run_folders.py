"""Makes run folders without training, for tests of what reads them."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conftest import write
from digitnet.runs.formats import RunSummary, write_metrics, write_summary
from digitnet.runs.reader import Run
from digitnet.training.record import EpochRecord

ACCURACIES = (0.5, 0.9)


def make_run(folder: str | Path, accuracies: tuple[float, ...] = ACCURACIES, **settings: Any) -> Path:
    """The folder of a finished run on 1,000 test images, with these validation accuracies.

    `optimizer__lr=1.0` is a setting of a group; `status`, `error`, `seconds` and `process` go into summary.json.
    """
    path = Path(folder)
    path.mkdir(parents=True)
    summary_keys = {name: settings.pop(name) for name in ("status", "error", "seconds", "process") if name in settings}
    config: dict[str, Any] = {"model": {"name": "lenet5"}, "trainer": {"epochs": len(accuracies or "0")}, "seed": 0}
    for key, value in settings.items():
        group, _, leaf = key.partition("__")
        if leaf:
            config.setdefault(group, {})[leaf] = value
        else:
            config[group] = value
    records = [EpochRecord(n, 0.1, 1.0, acc, 1 - acc, acc, 2.0, 500.0) for n, acc in enumerate(accuracies, start=1)]
    write_metrics(path / "metrics.csv", records)
    summary = RunSummary(
        **{"status": "finished", "seconds": 65.25, **summary_keys},
        command="digitnet",
        seed=config["seed"],
        versions={},
        model=config["model"]["name"],
        parameters=10,
        epochs=len(records),
        final=asdict(records[-1]) if records else None,
        best={"val_acc": max(accuracies)} if records else None,
        config=config,
    )
    if summary.status == "finished":
        errors = round(1000 * (1 - accuracies[-1]))
        summary.test = {"loss": 0.1, "accuracy": accuracies[-1], "errors": errors, "n": 1000}
    write_summary(path / "summary.json", summary)
    return path


def names(runs: list[Run]) -> list[str]:
    return [run.folder.name for run in runs]


def remove_summary(folder: Path) -> None:
    (folder / "summary.json").unlink()


def changing_summary(**keys: Any) -> Callable[[Path], None]:
    """A function that changes these keys of the summary.json in a folder."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "summary.json").read_bytes())
        write(folder / "summary.json", json.dumps(content | keys))

    return change


def write_or_pipe(path: Path, content: bytes | str | None) -> None:
    """Bytes: a file; a string: a pipe, whose readers wait for ever; None: nothing."""
    if isinstance(content, bytes):
        write(path, content)
    elif content is not None:
        path.parent.mkdir(exist_ok=True)
        os.mkfifo(path)
