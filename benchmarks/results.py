"""Remake the tables of docs/results.md, docs/lenet5_1998.md and the README: run every row for every seed, write all.

    python benchmarks/results.py --jobs 2               # all rows, two runs at a time, one thread each
    python benchmarks/results.py --rows lenet5 allconv  # some
    python benchmarks/results.py --table-only           # only the tables, from what is in --runs

Runs that are finished already are kept, and interrupted ones are resumed, so it can be called again at any time.
A table is remade when each of its rows has three finished runs; all runs must be of one version of torch.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitnet.runs.formats import read_metrics
from digitnet.significance import mean_interval
from documents import CHECKOUT, processor, write_section
from rows import ROWS, Row, Table

SCRIPT = "benchmarks/results.py"
PICTURES = {"distorted.png": "digits_distort"}  # of seed 0; no picture of MNIST's images
HEADLINES = ["fast99", "lenet5_1998", "allconv_best"]  # the rows that README.md shows
FEWEST_RUNS = 3  # of a row in a table


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    summary: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Of the test set, a fraction."""
        return float(self.summary["test"]["accuracy"])

    def outcome(self) -> str:
        """What it predicts, in words whose verb is in the plural."""
        classes = self.summary["dataset"]["classes"]
        with (self.folder / "predictions.csv").open(newline="") as file:
            predicted = {classes[int(line["predicted"])] for line in csv.DictReader(file)}
        missing = [name for name in classes if name not in predicted]
        if len(predicted) == 1:
            return f"predict the {predicted.pop()} only"
        if self.accuracy < 2 / len(classes):
            return "stay at chance"
        if missing:
            return f"never predict the {' or the '.join(missing)}"
        return EVERY_CLASS


EVERY_CLASS = "predict every class"
REMADE = "Remade by `python benchmarks/results.py --jobs 2`."
Found = dict[Row, list[FinishedRun]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("outputs/results"), help="where the runs are")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.table_only:
        run_all([row for row in ROWS if row.name in options.rows], options.runs, options.jobs)
    write_documents(options.runs)


def run_all(rows: Sequence[Row], runs: Path, jobs: int) -> None:
    """In waves: what starts from another row's weights comes after it, what takes all cores runs alone."""
    for wave, at_a_time in (
        ([row for row in rows if row.after is None and row.threads == 1], jobs),
        ([row for row in rows if row.after is not None], jobs),
        ([row for row in rows if row.threads > 1], 1),
    ):
        most = max((row.seeds for row in wave), default=0)
        work = [(row, row.all_seeds[number]) for number in range(most) for row in wave if number < row.seeds]
        with ThreadPoolExecutor(at_a_time) as pool:
            list(pool.map(lambda job: run(job[0], job[1], runs), work))


def run(row: Row, seed: int, runs: Path) -> None:
    """Make the run, or resume it if it was interrupted; nothing if it is finished."""
    folder = runs / row.name / str(seed)
    if summary_of(folder).get("status") == "finished":
        return
    start = [f"init_from={runs / row.after / str(seed)}"] if row.after else []
    command = [
        *(sys.executable, "-m", "digitnet", *row.overrides.split(), f"data={row.data}", f"seed={seed}"),
        *(f"trainer.threads={row.threads}", f"hydra.run.dir={folder}", *start),
    ]
    if (folder / "checkpoints" / "last.pt").exists():
        command = [sys.executable, "-m", "digitnet", "resume", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    print(f"{row.name} {seed}: {(done.stdout + done.stderr).strip().splitlines()[-1]}", flush=True)


def summary_of(folder: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return summary


def finished_runs(runs: Path) -> Found:
    """The rows that have enough finished runs, with these."""
    found = {}
    for row in ROWS:
        folders = [runs / row.name / str(seed) for seed in row.all_seeds]
        finished = [FinishedRun(folder, summary_of(folder)) for folder in folders]
        finished = [run for run in finished if run.summary.get("status") == "finished"]
        if len(finished) >= FEWEST_RUNS:
            found[row] = finished
        if len(finished) < row.seeds:
            print(f"{row.name}: {len(finished)} of {row.seeds} runs are finished", file=sys.stderr)
    if not found:
        raise SystemExit(f"{runs}: no row has {FEWEST_RUNS} finished runs")
    return found


def torch_version(runs: Iterable[FinishedRun]) -> str:
    """The one that all of them are of. Ends the program where there are several."""
    folders = defaultdict(list)
    for run in runs:
        folders[run.summary["versions"]["torch"]].append(str(run.folder))
    if len(folders) > 1:
        listed = "\n".join(f"  {version}: {', '.join(paths)}" for version, paths in sorted(folders.items()))
        raise SystemExit(f"error: runs of several versions of torch; remake those of all but one\n{listed}")
    (version,) = folders
    return str(version)


def result(runs: Sequence[FinishedRun]) -> str:
    """Mean ± standard deviation; where some runs do not learn to predict every class, counts of what they do."""
    outcomes = Counter(run.outcome() for run in runs)
    if set(outcomes) == {EVERY_CLASS}:
        accuracies = [100 * run.accuracy for run in runs]
        return f"{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f} %"
    if all(run.accuracy < 2 / len(run.summary["dataset"]["classes"]) for run in runs):
        return f"{len(runs)} of {len(runs)} seeds stay at chance"
    (first, count), *others = outcomes.most_common()
    counts = [f"{count} of {len(runs)} seeds {conjugated(first, count)}"]
    return ", ".join(counts + [f"{count} {conjugated(outcome, count)}" for outcome, count in others])


def conjugated(outcome: str, count: int) -> str:
    if count > 1:
        return outcome
    return outcome.replace("predict", "predicts", 1).replace("stay", "stays", 1)


def training_seconds(runs: Sequence[FinishedRun]) -> list[float]:
    """Of each run the seconds of its training, without validation."""
    return [
        sum(run.summary["dataset"]["train"] / record.images_per_second for record in read_metrics(path))
        for run in runs
        for path in [run.folder / "metrics.csv"]
    ]


def time_of(runs: Sequence[FinishedRun]) -> str:
    """The median of the runs' seconds, or minutes."""
    seconds = statistics.median(training_seconds(runs))
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def interval(runs: Sequence[FinishedRun]) -> str:
    """The 95 % interval of the mean over seeds; nothing where a mean says nothing."""
    if any(run.outcome() != EVERY_CLASS for run in runs):
        return "–"
    ends = mean_interval([100 * run.accuracy for run in runs])
    return f"{ends[0]:.2f} to {min(ends[1], 100):.2f} %" if ends else "–"


def notebook_section(found: Found, version: str) -> str:
    """The notebook's rows, as it has them."""
    lines = ["| what | command | notebook | digitnet | 95 % interval | worst | n | time |", "|---" * 8 + "|"]
    for row, runs in of_table(found, "notebook"):
        worst = 100 * min(run.accuracy for run in runs)
        lines.append(
            f"| {row.what} | `{row.command}` | {row.notebook} | {result(runs)} | {interval(runs)} | {worst:.2f} % | "
            f"{len(runs)} | {time_of(runs)} |"
        )
    footer = (
        "Test accuracy of the final weights, mean ± standard deviation over seeds 0 to n-1 and the 95 % interval of the"
        " mean, or a count of seeds where some do not learn every class. Time: median of training, one thread a run and"
        f" two runs at a time (all-conv: two threads, one run at a time); {processor()}, torch {version}. {REMADE}"
    )
    return "\n".join([*lines, "", flattery(found), "", footer, ""])


def flattery(found: Found) -> str:
    """How much better the best epoch on the test set looks than the last."""
    records = [read_metrics(run.folder / "metrics.csv") for run in runs_of(found, "lenet5")]
    gains = [100 * (max(record.val_acc for record in its) - its[-1].val_acc) for its in records]
    return (
        "**The best epoch.** These runs validate on the test set, as the notebook does. Reporting the best epoch, not"
        f" the last, would choose on the test set, and flatter the first row by {statistics.mean(gains):.2f} ±"
        f" {statistics.stdev(gains):.2f} points (n = {len(gains)})."
    )


def best_section(found: Found, version: str) -> str:
    """The presets that were searched, the fastest first."""
    rows = sorted(of_table(found, "best"), key=lambda one: statistics.median(training_seconds(one[1])))
    lines = ["| command | parameters | accuracy | 95 % interval | worst | n | time |", "|---" * 7 + "|"]
    for row, runs in rows:
        worst = 100 * min(run.accuracy for run in runs)
        parameters = runs[0].summary["parameters"]
        lines.append(
            f"| `{row.command}` | {parameters:,} | {result(runs)} | {interval(runs)} | {worst:.2f} % | {len(runs)} | "
            f"{time_of(runs)} |"
        )
    footer = (
        "Test accuracy of the final weights, mean ± standard deviation over seeds 1 to n; the search used seed 0. Time:"
        f" median of training, two threads, one run at a time; {processor()}, torch {version}. {REMADE}"
    )
    names = ", ".join(f"`{row.overrides}`" for row in front(rows))
    on_front = f"The front, where nothing that trains in less time is more accurate: {names}."
    return "\n".join([*lines, "", on_front, "", ensemble_line(found), "", footer, ""])


def front(rows: Sequence[tuple[Row, list[FinishedRun]]]) -> list[Row]:
    """Of the rows, the fastest first, those whose mean accuracy none before them reaches."""
    best, names = 0.0, []
    for row, runs in rows:
        if (mean := statistics.mean(run.accuracy for run in runs)) > best:
            best = mean
            names.append(row)
    return names


def ensemble_line(found: Found) -> str:
    """What three all-convolutional networks reach together, as `digitnet evaluate` has it."""
    runs = runs_of(found, "allconv_best")
    command = [sys.executable, "-m", "digitnet", "evaluate", *(str(run.folder) for run in runs), "--format", "json"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (mean,) = (row for row in rows if row["ensemble"] == "mean")
    low, high = 100 * mean["accuracy_low"], 100 * mean["accuracy_high"]
    return (
        f"The {len(runs)} runs of `digitnet experiment=allconv_best` as an ensemble, by `digitnet evaluate RUN_DIR"
        f" RUN_DIR RUN_DIR`: {100 * mean['accuracy']:.2f} %, {mean['errors']} errors; 95 % interval over images"
        f" {low:.2f} to {high:.2f} %."
    )


def error(runs: Sequence[FinishedRun]) -> str:
    """Mean ± standard deviation of the error, as the paper has it."""
    errors = [100 * (1 - run.accuracy) for run in runs]
    return f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f} %"


def section_of_1998(found: Found, version: str) -> str:
    """LeNet-5 of 1998 beside the paper."""
    lines = ["| test error | paper | Lush (Yadav and Bottou 2019) | digitnet | n | time |", "|---" * 6 + "|"]
    for name, what, paper, lush in (
        ("lenet5_1998", "without distortions", "0.95 %", "0.82 ± 0.2 %"),
        ("lenet5_1998_distort", "with distortions", "0.8 %", "–"),
    ):
        runs = runs_of(found, name)
        lines.append(f"| {what} | {paper} | {lush} | {error(runs)} | {len(runs)} | {time_of(runs)} |")
    footer = (
        "Final weights after 20 passes, mean ± standard deviation over seeds 1 to n, beside what the others give; "
        f"time: median of training, one thread; {processor()}, torch {version}. {REMADE}"
    )
    return "\n".join([*lines, "", footer, ""])


def choices_section(found: Found, version: str) -> str:
    """What each choice costs."""
    lines = ["| choice | command | test error | n | time |", "|---" * 5 + "|"]
    for row, runs in of_table(found, "choices of 1998"):
        lines.append(f"| {row.what} | `{row.command}` | {error(runs)} | {len(runs)} | {time_of(runs)} |")
    footer = (
        "Five passes, final weights, mean ± standard deviation over seeds 0 to n-1; one thread a run, two runs at a "
        f"time; {processor()}, torch {version}. {REMADE}"
    )
    return "\n".join([*lines, "", footer, ""])


def headlines_section(found: Found, version: str) -> str:
    lines = ["| command | test accuracy on MNIST | n | time |", "|---|---|---|---|"]
    for name in HEADLINES:
        row, runs = next(one for one in found.items() if one[0].name == name)
        lines.append(f"| `{row.command}` | {result(runs)} | {len(runs)} | {time_of(runs)} |")
    footer = (
        f"Mean ± standard deviation over n seeds, and the median time of training; {processor()}, torch {version}. "
        f"{REMADE} See [results](docs/results.md)."
    )
    return "\n".join([*lines, "", footer, ""])


def runs_of(found: Found, name: str) -> list[FinishedRun]:
    return next(runs for row, runs in found.items() if row.name == name)


def of_table(found: Found, table: str) -> list[tuple[Row, list[FinishedRun]]]:
    return [(row, runs) for row, runs in found.items() if row.table == table]


@dataclass(frozen=True)
class Section:
    """What is between two marks of a document, made of `rows`."""

    document: str
    part: str
    rows: Sequence[str]
    text: Callable[[Found, str], str]


def rows_of(table: Table) -> list[str]:
    return [row.name for row in ROWS if row.table == table]


SECTIONS = [
    Section("docs/results.md", "", rows_of("notebook"), notebook_section),
    Section("docs/results.md", "best", rows_of("best"), best_section),
    Section("docs/lenet5_1998.md", "", rows_of("1998"), section_of_1998),
    Section("docs/lenet5_1998.md", "choices", rows_of("choices of 1998"), choices_section),
    Section("README.md", "", HEADLINES, headlines_section),
]


def write_documents(runs: Path) -> None:
    """Remake the sections whose rows are all there; the others stay as they are."""
    found = finished_runs(runs)
    version = torch_version(run for row in found.values() for run in row)
    for section in SECTIONS:
        if missing := sorted({*section.rows} - {row.name for row in found}):
            name = " ".join([section.document, *([f"({section.part})"] if section.part else [])])
            print(f"{name}: left as it is, without enough runs of {', '.join(missing)}", file=sys.stderr)
        else:
            write_section(section.document, SCRIPT, section.text(found, version), section.part)
    for picture, row_name in PICTURES.items():
        if (made := runs / row_name / "0" / picture).exists():
            shutil.copyfile(made, CHECKOUT / "docs" / picture)


if __name__ == "__main__":
    main()
