"""What a report's page shows, as values for JSON: runs, their curves, and what a trained network does on its images."""

import base64
import csv
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.errors import DigitnetError
from digitnet.report.comparison import tabulate
from digitnet.report.page_sweep import sweep_content
from digitnet.report.run_lines import result_line
from digitnet.report.tables import displayed
from digitnet.runs.folder import RunFolder
from digitnet.runs.reader import Run, find_runs
from digitnet.text import duration, plural, printable, short_path

if TYPE_CHECKING:  # torch
    from digitnet.experiment.evaluation import RunEvaluation
    from digitnet.experiment.trained import TrainedNetwork

MOST_RUNS = 200  # with curves
MOST_ROWS = 2000  # of the table
MOST_POINTS = 400  # of a curve
MOST_WRONG = 400  # images
MOST_RIGHT = 150  # images: those that the network was least sure of, as many of each class
MOST_CLASSES = 30  # of the confusion matrix
MEASURES = ("train_loss", "val_loss", "train_acc", "val_acc", "lr")


def page_content(
    paths: Sequence[str | Path], checkpoint: str = "last", trust: bool = False, with_details: bool = True
) -> dict[str, Any]:
    """The content of the page for the runs in and below `paths`.

    `details`, which need torch, are of a single run, or of the one with the highest validation accuracy; what cannot be
    shown has its reason in `missing`. Raises ConfigError if there are no runs.
    """
    runs = find_runs(paths)
    trained = [run for run in runs if run.metrics.get("epochs")]
    parent = _common_parent(runs)
    content: dict[str, Any] = {
        "title": _title(runs),
        "runs": [_curves(run, parent) for run in _best_first(trained)[:MOST_RUNS]],
        "table": _table(runs) if len(runs) > 1 else None,
        "sweep": sweep_content(runs) if len(runs) > 1 else None,
        "left_out": _left_out(runs, trained),
        "details": None,
        "missing": [],
    }
    if not trained:
        content["missing"].append("no epoch is finished, so there are no curves, no images and no pad")
        return content
    chosen = _best_first(trained)[0]
    content["head"] = _head(chosen, parent)
    if not with_details:
        return content
    try:
        content["details"] = _details(chosen, checkpoint, trust, content["missing"])
    except DigitnetError as error:  # no checkpoint, no data, a network that is not to be imported
        content["missing"].append(f"no images and no pad: {error}")
    return content


def _best_first(runs: Sequence[Run]) -> list[Run]:
    """By the last validation accuracy, finished runs first."""
    return sorted(runs, key=lambda run: (run.status != "finished", -run.metrics.get("val_acc", 0)))


def _title(runs: Sequence[Run]) -> str:
    if len(runs) > 1:
        return plural(len(runs), "run")
    settings = runs[0].settings
    return f"{settings.get('model', 'a network')} on {settings.get('data', 'its data')}"


def _left_out(runs: Sequence[Run], trained: Sequence[Run]) -> list[str]:
    """What the page does not show of many runs."""
    texts = []
    if len(trained) > MOST_RUNS:
        texts.append(f"curves are of the {MOST_RUNS} best of {len(trained):,} runs, by validation accuracy")
    if len(runs) > MOST_ROWS:
        texts.append(f"the table has {MOST_ROWS:,} of {len(runs):,} runs")
    return texts


def _table(runs: Sequence[Run]) -> dict[str, Any]:
    """Headings and cells as `digitnet compare` prints them."""
    table = tabulate(_best_first(runs)[:MOST_ROWS])
    headings, cells = displayed(table)
    return {"headings": headings, "cells": cells}


def _common_parent(runs: Sequence[Run]) -> Path | None:
    """The deepest folder that all are in, for names that are short and differ; None for a single run."""
    return Path(os.path.commonpath([run.folder for run in runs])) if len(runs) > 1 else None


def _name(run: Run, parent: Path | None) -> str:
    return printable(run.folder.name if parent is None else str(run.folder.relative_to(parent)))


def _curves(run: Run, parent: Path | None) -> dict[str, Any]:
    """A run's name, and its measures after each epoch; of long runs every so many epochs, and the last."""
    try:
        records = RunFolder(run.folder).read_records()
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        records = []
    step = -(-len(records) // MOST_POINTS) or 1
    kept = records[step - 1 :: step] + (records[-1:] if len(records) % step else [])
    rows = [asdict(record) for record in kept]
    curves = {name: [float(f"{row[name]:.6g}") for row in rows] for name in MEASURES}
    return {"name": _name(run, parent), "status": run.status, "epoch": [row["epoch"] for row in rows], **curves}


def _head(run: Run, parent: Path | None) -> dict[str, Any]:
    """Result, command and facts of a run."""
    summary = RunFolder(run.folder).read_summary()
    finished = summary.test is not None and summary.status == "finished"
    data, device, git = summary.dataset, summary.device, summary.git
    facts = {
        "status": summary.status if not summary.error else f"{summary.status}: {summary.error}",
        "data": f"{data['name']}, {data['train']:,} training and {data['test']:,} test images"
        if "test" in data
        else "",
        "validation": str(data.get("validation_on", "")),
        "model": f"{summary.model}, {plural(summary.parameters, 'parameter')}" if summary.parameters else summary.model,
        "epochs": str(summary.epochs),
        "time": f"{duration(summary.seconds)} on {device.get('name', 'an unknown device')}",
        "seed": str(summary.seed),
        "versions": ", ".join(f"{name} {version}" for name, version in summary.versions.items()),
        "git": f"{git['commit']}{', with changes' if git.get('dirty') else ''}" if git else "",
        "folder": str(short_path(run.folder)),
    }
    shown = [(name, printable(text)) for name, text in facts.items() if text]
    result = result_line(summary) if finished and summary.test else f"{summary.status} after {summary.epochs} epochs"
    return {"name": _name(run, parent), "result": result, "command": summary.command, "facts": shown}


def _details(run: Run, checkpoint: str, trust: bool, missing: list[str]) -> dict[str, Any]:
    """The network, and what it does on the test set. Raises DigitnetError."""
    from digitnet.experiment.evaluation import evaluate_networks
    from digitnet.experiment.trained import open_trained

    network = open_trained(run.folder, checkpoint, trust)
    found: dict[str, Any] = {
        "classes": [printable(name) for name in network.classes],
    }
    try:
        evaluation = evaluate_networks([network], ["device=cpu"])[0]
    except DigitnetError as error:  # the data are not on this machine
        missing.append(f"no images: {error}")
        evaluation = None
    found["network"] = _network(network, evaluation, missing)
    return found | (_evaluated(evaluation) if evaluation else {})


def _network(
    network: "TrainedNetwork", evaluation: "RunEvaluation | None", missing: list[str]
) -> dict[str, Any] | None:
    """The network for the pad: with half the bytes a weight where that changes no prediction of the test set."""
    import torch

    from digitnet.experiment.page_network import UnsupportedLayerError, page_network, with_half_weights
    from digitnet.metrics import predict

    model = network.model.cpu().float().to(memory_format=torch.contiguous_format)
    half = False
    try:
        if network.config.model.name == "custom":
            raise UnsupportedLayerError("it is a network of your own (model=custom)")
        page_network(model, half=False)
        if evaluation is not None:
            rounded = with_half_weights(model)
            half = torch.equal(predict(rounded, evaluation.images).argmax(1), evaluation.predicted)
        carried = page_network(rounded if half else model, half)
    except UnsupportedLayerError as error:
        missing.append(f"no pad: the page cannot compute this network: {error}")
        return None
    return carried | {"prepare": network.prepare, "bytes_per_weight": 2 if half else 4}


def _evaluated(one: "RunEvaluation") -> dict[str, Any]:
    """Figures and images of the split that the network was evaluated on."""
    import torch

    from digitnet.metrics import hardest_images
    from digitnet.scores import reliability

    confidence = one.probabilities.max(1).values
    wrong = hardest_images(one.labels, one.predicted, confidence)
    kept = [*wrong[:MOST_WRONG], *_least_sure(one, confidence)]
    best = one.probabilities[kept].topk(2, 1)
    names = [printable(score.name) for score in one.classes]
    matrix = torch.zeros(len(names), len(names), dtype=torch.int64)
    matrix.index_put_((one.labels, one.predicted), torch.ones_like(one.labels), accumulate=True)
    return {
        "split": f"{one.split} set of {one.data}, {plural(one.score.n, 'image')}",
        "epoch": one.epoch,
        "checkpoint": one.checkpoint,
        "accuracy": one.score.accuracy,
        "interval": one.interval,
        "errors": one.score.errors,
        "calibration_error": one.calibration_error,
        "brier_score": one.brier_score,
        "confusion": matrix.tolist() if len(names) <= MOST_CLASSES else None,
        "confusions": [list(some) for some in one.confusions[:20]],
        "scores": [(name, s.precision, s.recall, s.f1, s.n) for name, s in zip(names, one.classes, strict=True)],
        "reliability": reliability(one.probabilities, one.labels),
        "images": [
            {
                "index": index,
                "label": int(one.labels[index]),
                "predicted": int(one.predicted[index]),
                "top": [(int(k), round(float(p), 4)) for k, p in zip(classes, values, strict=True)],
                "wrong_label": index in one.wrong_labels,
            }
            for index, classes, values in zip(kept, best.indices, best.values, strict=True)
        ],
        "pixels": base64.b64encode(one.images[kept].numpy().tobytes()).decode(),
        "errors_left_out": max(0, len(wrong) - MOST_WRONG),
    }


def _least_sure(one: "RunEvaluation", confidence: Any) -> list[int]:
    """Indices of images that are classified correctly, as many of each class, the least sure first."""
    found: list[int] = []
    each = max(1, MOST_RIGHT // len(one.classes))
    for number in range(len(one.classes)):
        right = ((one.labels == number) & (one.predicted == number)).nonzero().flatten()
        found += right[confidence[right].argsort(stable=True)][:each].tolist()
    return found[:MOST_RIGHT]
