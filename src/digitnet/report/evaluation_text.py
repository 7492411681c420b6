"""An evaluation of runs as text for people, and as rows for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digitnet.report.comparison import ComparisonTable
from digitnet.report.tables import as_csv, as_json, as_markdown, laid_out
from digitnet.text import plural, printable, short_path

if TYPE_CHECKING:  # torch
    from digitnet.metrics import Evaluation
    from digitnet.scores import ClassScore, Comparison

MOST_CONFUSIONS = 10
MOST_IMAGES = 20  # whose indices are listed
COLUMNS = [
    "accuracy", "accuracy_low", "accuracy_high", "errors", "n", "loss", "calibration_error", "brier_score",
    "errors_without_wrong_labels", "data", "split", "checkpoint", "epoch", "tta",
    "folder",
]  # fmt: skip
ENSEMBLE_COLUMNS = ["ensemble", "ensemble_without"]
ENSEMBLES = {"mean": "mean of probabilities", "vote": "majority vote"}
CHANGE_COLUMNS = ["change", "amount", "accuracy", "errors", "n", "folder"]


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def score_lines(
    score: "Evaluation",
    interval: tuple[float, float],
    calibration_error: float,
    brier_score: float,
    without_wrong_labels: "Evaluation | None",
) -> Iterator[str]:
    """The figures of one run."""
    low, high = interval
    yield f"accuracy           {percent(score.accuracy)}, 95 % interval {100 * low:.2f} to {percent(high)}"
    yield f"errors             {score.errors:,} of {score.n:,}"
    if without_wrong_labels is not None:
        rest = without_wrong_labels
        left_out = plural(score.n - rest.n, "image")
        yield f"                   {rest.errors:,} of {rest.n:,} without {left_out} whose labels are known to be wrong"
    yield f"loss               {score.loss:.4f}"
    yield f"calibration error  {percent(calibration_error)}"
    yield f"Brier score        {brier_score:.4f}"


def class_lines(scores: Sequence["ClassScore"], width: int | None) -> list[str]:
    """A table of precision, recall, F1 and number of images of each class."""

    def cell(fraction: float | None) -> str:
        return "" if fraction is None else percent(fraction)

    rows = [[printable(s.name), cell(s.precision), cell(s.recall), cell(s.f1), f"{s.n:,}"] for s in scores]
    return laid_out(["class", "precision", "recall", "f1", "n"], rows, (), width)


def confusion_line(confusions: Sequence[tuple[str, str, int]]) -> str:
    """`most frequent confusions: 4 -> 9 (12), 7 -> 2 (8)`."""
    shown = ", ".join(f"{true} -> {guess} ({count})" for true, guess, count in confusions[:MOST_CONFUSIONS])
    return f"most frequent confusions: {shown or 'none'}"


def comparison_lines(comparison: "Comparison", n: int, second: "Path") -> Iterator[str]:
    """How two runs compare on the same images."""
    low, high = comparison.interval
    yield f"against {short_path(second)}, on the same {n:,} images:"
    for label, images in (("right only here ", comparison.only_first), ("right only there", comparison.only_second)):
        indices = ", ".join(map(str, images[:MOST_IMAGES])) + (", …" if len(images) > MOST_IMAGES else "")
        yield f"{label}   {len(images):,}" + (f": {indices}" if images else "")
    interval = f"{100 * low:+.2f} to {100 * high:+.2f}"
    yield f"difference         {100 * comparison.difference:+.2f} points, 95 % interval {interval}"
    yield f"exact McNemar      p = {comparison.p_value:.3g}"


def comparison_json(comparison: "Comparison", n: int, first: Path, second: Path) -> str:
    """The comparison as a JSON object; the images are given by their indices."""
    content = {
        "first": str(first),
        "second": str(second),
        "n": n,
        "difference": comparison.difference,
        "difference_low": comparison.interval[0],
        "difference_high": comparison.interval[1],
        "p_value": comparison.p_value,
        "only_first": comparison.only_first,
        "only_second": comparison.only_second,
    }
    return json.dumps(content, indent=2) + "\n"


def formatted(rows: Sequence[dict[str, Any]], columns: Sequence[str], table_format: str) -> str:
    """Rows as `csv`, `json` or `md`."""
    table = ComparisonTable([*columns], [*rows], [[] for _ in rows], chosen=True)
    return {"csv": as_csv, "json": as_json, "md": as_markdown}[table_format](table)


def score_lines_of_several(rows: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """A line for each run and, if they are evaluated together, for the mean of their probabilities and the vote."""
    together = "ensemble" in rows[0]
    several_data = len({(row["data"], row["split"], row["n"]) for row in rows}) > 1

    def number(value: float | None, form: str) -> str:
        return "" if value is None else form.format(value)

    headings = ["network", "accuracy", "95 % interval", "errors", "loss", "calibration error", "Brier score"]
    headings += ["n", "data", "split"] if several_data else []
    headings += ["all without it"] if together else []
    cells = []
    for row in rows:
        name = ENSEMBLES.get(row.get("ensemble") or "") or str(short_path(Path(row["folder"])))
        cells.append(
            [
                printable(name).replace("\n", r"\n"),
                percent(row["accuracy"]),
                f"{100 * row['accuracy_low']:.2f} to {percent(row['accuracy_high'])}",
                f"{row['errors']:,}",
                number(row["loss"], "{:.4f}"),
                "" if row["calibration_error"] is None else percent(row["calibration_error"]),
                number(row["brier_score"], "{:.4f}"),
                *([f"{row['n']:,}", row["data"], row["split"]] if several_data else []),
                *(["" if row["ensemble_without"] is None else percent(row["ensemble_without"])] if together else []),
            ]
        )
    return laid_out(headings, cells, ("Brier score", "calibration error", "loss", "95 % interval"), width)


def help_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Which members of an ensemble help: without them, the mean of the probabilities has more errors."""
    members = [row for row in rows if row["ensemble"] is None]
    (together,) = [row["accuracy"] for row in rows if row["ensemble"] == "mean"]
    for what, chosen in (
        ("help", [row for row in members if row["ensemble_without"] < together]),
        ("make no difference", [row for row in members if row["ensemble_without"] == together]),
        ("do harm", [row for row in members if row["ensemble_without"] > together]),
    ):
        if chosen:
            names = ", ".join(str(short_path(Path(row["folder"]))) for row in chosen)
            yield f"members that {what}: {printable(names)}"


def change_lines(
    changes: Sequence[tuple[str, float, Sequence["Evaluation"]]], names: Sequence[str], width: int | None
) -> list[str]:
    """A line for each corruption, or for each amount of a translation or rotation; a column for each network."""
    rows = []
    for kind, amount, scores in changes:
        unit = {"translation": " px", "rotation": " degrees"}.get(kind)
        what = f"{kind} {amount:+g}{unit}" if unit else kind.replace("_", " ")
        rows.append([what, *(percent(score.accuracy) for score in scores)])
    return laid_out(["change", *names], rows, (), width)
