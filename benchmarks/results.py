"""Remake docs/results.md and the README's three rows: run every row for every seed, then write the tables and two
pictures.

    python benchmarks/results.py --jobs 2               # all rows, two runs at a time, one thread each
    python benchmarks/results.py --rows lenet5 allconv  # some
    python benchmarks/results.py --table-only           # only the tables, from what is in --runs

Runs that are finished already are kept, so it can be interrupted and called again. A row appears in the tables when
three of its runs are finished; all runs must be of one version of torch.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitnet.runs.formats import read_metrics
from documents import CHECKOUT, processor, write_section

SCRIPT = "benchmarks/results.py"
PICTURES = {"distorted.png": "digits_distort"}  # of seed 0; no picture of MNIST's images
HEADLINES = ["lenet5", "distort", "fast99"]  # the rows that README.md shows
FEWEST_RUNS = 3  # of a row in a table


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    overrides: str
    seeds: int
    notebook: str = "–"
    after: str | None = None  # the row whose run of the same seed this one starts from
    threads: int = 1
    timed: bool = False
    data: str = "mnist"

    @property
    def command(self) -> str:
        start = ["init_from=RUN_DIR"] if self.after else []
        data = [f"data={self.data}"] if self.data != "mnist" else []
        return " ".join(["digitnet", *self.overrides.split(), *start, *data])


ROWS = [
    Row("lenet5", "LeNet-5 (part I), from scratch", "experiment=lenet5", 5),
    Row(
        "lenet5_twice",
        "LeNet-5 (part I), trained twice as in its log",
        "experiment=lenet5",
        3,
        "99.00 %",
        after="lenet5",
    ),
    Row("lenet5_rmsprop", "LeNet-5, RMSprop (part II as its log shows it)", "experiment=lenet5_rmsprop", 3, "98.76 %"),
    Row("lenet5_distort", "LeNet-5, RMSprop, distortions (part II as its text has it)", "experiment=lenet5_distort", 3),
    Row("distort", "LeNet-5 with distortions", "model=lenet5 aug=distort", 5),
    Row("allconv", "all-convolutional (part III, never trained there)", "experiment=allconv", 3, threads=2),
    Row(
        *("allconv_relu", "all-convolutional with the notebook's last ReLU, three epochs"),
        *("experiment=allconv model.final_relu=true trainer.epochs=3", 5),
        threads=2,
    ),
    Row("allconv_short", "all-convolutional, two epochs", "experiment=allconv trainer.epochs=2", 3, threads=2),
    Row(
        *("allconv_bf16", "all-convolutional, two epochs in bfloat16"),
        *("experiment=allconv trainer.epochs=2 trainer.precision=bf16", 3),
        threads=2,
    ),
    Row("fast99", "99 % in one epoch", "experiment=fast99", 10, threads=2, timed=True),
    Row(
        *("momentum", "LeNet-5 with the momentum that the notebook intended"),
        *("experiment=lenet5 optimizer.momentum=0.8", 3),
    ),
    Row("digits", "LeNet-5 on the embedded digits", "", 5, data="digits"),
    Row("digits_distort", "the same with distortions", "model=lenet5 aug=distort", 5, data="digits"),
]


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
        work = [(row, seed) for seed in range(most) for row in wave if seed < row.seeds]
        with ThreadPoolExecutor(at_a_time) as pool:
            list(pool.map(lambda job: run(job[0], job[1], runs), work))


def run(row: Row, seed: int, runs: Path) -> None:
    folder = runs / row.name / str(seed)
    if summary_of(folder).get("status") == "finished":
        return
    start = [f"init_from={runs / row.after / str(seed)}"] if row.after else []
    command = [
        *(sys.executable, "-m", "digitnet", *row.overrides.split(), f"data={row.data}", f"seed={seed}"),
        *(f"trainer.threads={row.threads}", f"hydra.run.dir={folder}", *start),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    print(f"{row.name} {seed}: {(done.stdout + done.stderr).strip().splitlines()[-1]}", flush=True)


def summary_of(folder: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return summary


def finished_runs(runs: Path) -> dict[Row, list[FinishedRun]]:
    """The rows that have enough finished runs, with these."""
    found = {}
    for row in ROWS:
        folders = [runs / row.name / str(seed) for seed in range(row.seeds)]
        finished = [FinishedRun(folder, summary_of(folder)) for folder in folders]
        finished = [run for run in finished if run.summary.get("status") == "finished"]
        if len(finished) >= FEWEST_RUNS:
            found[row] = finished
        if len(finished) < row.seeds:
            left_out = "" if row in found else "; left out of the tables"
            print(f"{row.name}: {len(finished)} of {row.seeds} runs are finished{left_out}", file=sys.stderr)
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


def training_seconds(runs: Sequence[FinishedRun]) -> str:
    """Seconds of training without validation: median (slowest), of runs made alone."""
    seconds = [
        sum(run.summary["dataset"]["train"] / record.images_per_second for record in read_metrics(path))
        for run in runs
        for path in [run.folder / "metrics.csv"]
    ]
    return f"{statistics.median(seconds):.1f} s (median; slowest {max(seconds):.1f} s)"


def results_section(found: dict[Row, list[FinishedRun]], version: str) -> str:
    lines = ["| what | command | notebook | digitnet | worst | n |", "|---|---|---|---|---|---|"]
    for row, runs in found.items():
        worst = 100 * min(run.accuracy for run in runs)
        lines.append(
            f"| {row.what} | `{row.command}` | {row.notebook} | {result(runs)} | {worst:.2f} % | {len(runs)} |"
        )
    timed = [f"`{row.command}` trains for {training_seconds(runs)}." for row, runs in found.items() if row.timed]
    footer = (
        "Test accuracy of the final weights, mean ± standard deviation over seeds 0 to n-1, or a count of seeds where "
        f"some do not learn every class; {processor()}, torch {version}; one thread a run and two runs at a time "
        "(all-conv and fast99: two threads, one run at a time). Remade by `python benchmarks/results.py --jobs 2`."
    )
    return "\n".join([*lines, "", *timed, footer, ""])


def headlines_section(found: dict[Row, list[FinishedRun]], version: str) -> str:
    lines = ["| command | test accuracy on MNIST | n |", "|---|---|---|"]
    for row, runs in found.items():
        if row.name in HEADLINES:
            lines.append(f"| `{row.command}` | {result(runs)} | {len(runs)} |")
    footer = (
        f"Mean ± standard deviation over n seeds; {processor()}, torch {version}. "
        "Remade by `python benchmarks/results.py --jobs 2`."
    )
    return "\n".join([*lines, "", footer, ""])


def write_documents(runs: Path) -> None:
    found = finished_runs(runs)
    version = torch_version(run for row in found.values() for run in row)
    table = results_section(found, version)
    print(table)
    write_section("docs/results.md", SCRIPT, table)
    write_section("README.md", SCRIPT, headlines_section(found, version))
    for picture, row_name in PICTURES.items():
        if (made := runs / row_name / "0" / picture).exists():
            shutil.copyfile(made, CHECKOUT / "docs" / picture)


if __name__ == "__main__":
    main()
