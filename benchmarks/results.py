"""Remake the README's table of results: run every row for every seed, then write the table into README.md and
two pictures into docs/.

    python benchmarks/results.py --jobs 2               # all rows, two runs at a time, one thread each
    python benchmarks/results.py --rows lenet5 allconv  # some
    python benchmarks/results.py --table-only           # only the table, from what is in --runs

Runs that are finished already are kept, so it can be interrupted and called again.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digitnet.runs.formats import read_metrics
from readme import CHECKOUT, machine, write_section

PICTURES = {"curves.png": "lenet5", "distorted.png": "digits_distort"}  # of seed 0; no picture of MNIST's images


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
    Row("allconv", "all-convolutional (part III, never trained there)", "experiment=allconv", 1, threads=2),
    Row(
        *("allconv_relu", "the same with the notebook's last ReLU"),
        *("experiment=allconv model.final_relu=true trainer.epochs=3", 5),
        threads=2,
    ),
    Row("allconv_short", "all-convolutional, two epochs", "experiment=allconv trainer.epochs=2", 3, threads=2),
    Row(
        *("allconv_bf16", "the same in bfloat16"),
        *("experiment=allconv trainer.epochs=2 trainer.precision=bf16", 3),
        threads=2,
    ),
    Row("fast99", "99 % in one epoch", "experiment=fast99", 10, threads=2, timed=True),
    Row("momentum", "LeNet-5 with the momentum that was meant", "experiment=lenet5 optimizer.momentum=0.8", 1),
    Row("digits", "LeNet-5 on the embedded digits", "", 5, data="digits"),
    Row("digits_distort", "the same with distortions", "model=lenet5 aug=distort", 5, data="digits"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("outputs/results"), help="where the runs are")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.table_only:
        chosen = [row for row in ROWS if row.name in options.rows]
        # Rows in waves: what starts from another row's weights comes after it, what takes all cores runs alone.
        for wave, jobs in (
            ([row for row in chosen if row.after is None and row.threads == 1], options.jobs),
            ([row for row in chosen if row.after is not None], options.jobs),
            ([row for row in chosen if row.threads > 1], 1),
        ):
            work = [
                (row, seed)
                for seed in range(max((row.seeds for row in wave), default=0))
                for row in wave
                if seed < row.seeds
            ]
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(lambda job: run(job[0], job[1], options.runs), work))
    write_table(options.runs)


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


def training(row: Row, runs: Path) -> str:
    """Seconds from the first training step to the last, without validation: median (slowest), of runs made alone."""
    if not row.timed:
        return "–"
    seconds = []
    for seed in range(row.seeds):
        folder = runs / row.name / str(seed)
        if (summary := summary_of(folder)).get("status") == "finished":
            records = read_metrics(folder / "metrics.csv")
            seconds.append(sum(summary["dataset"]["train"] / record.images_per_second for record in records))
    return f"{statistics.median(seconds):.1f} s" + (f" (slowest {max(seconds):.1f})" if len(seconds) > 1 else "")


def write_table(runs: Path) -> None:
    lines = ["| what | command | notebook | digitnet | worst | n | training |", "|---|---|---|---|---|---|---|"]
    for row in ROWS:
        summaries = [summary_of(runs / row.name / str(seed)) for seed in range(row.seeds)]
        summaries = [summary for summary in summaries if summary.get("status") == "finished"]
        if not summaries:
            continue
        accuracies = [100 * summary["test"]["accuracy"] for summary in summaries]
        spread = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        command = " ".join(["digitnet", *row.overrides.split()])
        command += " init_from=RUN_DIR" if row.after else ""
        command += f" data={row.data}" if row.data != "mnist" else ""
        lines.append(
            f"| {row.what} | `{command}` | {row.notebook} | {statistics.mean(accuracies):.2f}{spread} % "
            f"| {min(accuracies):.2f} % | {len(accuracies)} | {training(row, runs)} |"
        )
    lines += [
        "",
        f"Test accuracy of the final weights, mean ± standard deviation over seeds 0 to n-1; {machine()}; "
        "one thread a run and two runs at a time (all-conv and what is timed: two threads, alone). "
        "Remade by `python benchmarks/results.py --jobs 2`.",
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    write_section("benchmarks/results.py", table)
    for picture, row_name in PICTURES.items():
        if (made := runs / row_name / "0" / picture).exists():
            shutil.copyfile(made, CHECKOUT / "docs" / picture)


if __name__ == "__main__":
    main()
