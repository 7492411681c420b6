"""What a tracker costs: the CPU time of its process, and how long the training waits for it.

    DIGITNET_DATA=… python benchmarks/tracking.py --turns 3

Runs of few and of many short epochs tell what a tracker takes once and what it takes an epoch, which does not depend on
the data; wall times of whole epochs vary by more than that from run to run. The table goes into docs/tracking.md.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from digitnet import run
from digitnet.report.trackers.process import TrackerProcesses
from digitnet.training.record import EpochRecord
from documents import machine, write_section

SCRIPT = "benchmarks/tracking.py"
TRACKERS = {
    "tensorboard": ["tracker=tensorboard"],
    "mlflow": ["tracker=mlflow"],
    "wandb": ["tracker=wandb", "tracker.wandb.mode=offline"],
    "trackio": ["tracker=trackio"],
}
FEW, MANY = 5, 105  # epochs
SHORT = ["data=digits", "data.enlarge_to=1437", "logger=metrics", "checkpoint.every_epochs=null", "schedule=constant"]
waits: list[float] = []  # seconds that training has waited in each call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    setattr(TrackerProcesses, "epoch", timed(TrackerProcesses.epoch))  # noqa: B010 (mypy: a method is replaced)
    heads = ["tracker", "CPU time, once", "CPU time, an epoch", "training waits, an epoch", "share of an epoch"]
    rows = [f"| {' | '.join(heads)} |", "|" + len(heads) * "-|"]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"TRACKIO_DIR": f"{scratch}/trackio", "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db"}
        whole = [epoch_cpu_seconds(Path(scratch, f"mnist-{turn}")) for turn in range(turns)]
        for name, words in TRACKERS.items():
            few, each, waited = [], [], []
            for turn in range(turns):
                first = tracker_cpu_seconds(Path(scratch, f"{name}-{turn}-few"), FEW, words)
                last = tracker_cpu_seconds(Path(scratch, f"{name}-{turn}-many"), MANY, words)
                each.append((last - first) / (MANY - FEW))
                few.append(first - FEW * each[-1])
                waited.append(statistics.median(waits))
            share = (statistics.median(each) + statistics.median(waited)) / statistics.median(whole)
            print(name, few, each, waited, share)
            rows.append(
                f"| `{name}` | {statistics.median(few):.1f} s | {1000 * statistics.median(each):.1f} ms "
                f"({1000 * min(each):.1f} to {1000 * max(each):.1f}) | {1e6 * statistics.median(waited):.0f} µs "
                f"| {100 * share:.2f} % |"
            )
    text = "\n".join(rows) + (
        f"\n\nMedians (range) of n = {turns} turns. The share is of an epoch of LeNet-5 on MNIST, batches of 32, which "
        f"takes {statistics.median(whole):.1f} s of CPU time; {machine()}. Remade by `python {SCRIPT}`.\n"
    )
    write_section("docs/tracking.md", SCRIPT, text)


def timed(
    method: Callable[[TrackerProcesses, EpochRecord], None],
) -> Callable[[TrackerProcesses, EpochRecord], None]:
    def measured(self: TrackerProcesses, record: EpochRecord) -> None:
        start = time.perf_counter()
        method(self, record)
        waits.append(time.perf_counter() - start)

    return measured


def tracker_cpu_seconds(run_dir: Path, epochs: int, words: list[str]) -> float:
    """CPU time of the processes that a run has started. Raises DigitnetError."""
    waits.clear()
    before = children_seconds()
    run(*SHORT, f"trainer.epochs={epochs}", *words, run_dir=run_dir)
    return children_seconds() - before


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def epoch_cpu_seconds(run_dir: Path) -> float:
    """CPU time of an epoch of LeNet-5 on MNIST, with its share of what a run takes once. Raises DigitnetError."""
    start = time.process_time()
    run("data=mnist", "trainer.epochs=1", "logger=metrics", run_dir=run_dir)
    return time.process_time() - start


if __name__ == "__main__":
    main()
