"""How much a tracker slows an epoch of LeNet-5 on MNIST: runs without one and with each, in turns.

    DIGITNET_DATA=… python benchmarks/tracking.py --turns 3

The table goes into docs/tracking.md.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from digitnet import run
from documents import machine, write_section

SCRIPT = "benchmarks/tracking.py"
TRACKERS = {
    "tensorboard": ["tracker=tensorboard"],
    "mlflow": ["tracker=mlflow"],
    "wandb": ["tracker=wandb", "tracker.wandb.mode=offline"],
    "trackio": ["tracker=trackio"],
}
EPOCHS = 4
FIRST = 1  # epochs that are left out: the tracker's library is imported meanwhile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    turns = parser.parse_args().turns
    ratios: dict[str, list[float]] = {name: [] for name in TRACKERS}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"TRACKIO_DIR": f"{scratch}/trackio", "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db"}
        for turn in range(turns):
            without = epoch_seconds(Path(scratch, f"none-{turn}"), [])
            for name, words in TRACKERS.items():
                ratios[name].append(epoch_seconds(Path(scratch, f"{name}-{turn}"), words) / without)
    rows = ["| tracker | an epoch takes, times the one without |", "|---|---|"]
    for name, values in ratios.items():
        rows.append(f"| `{name}` | {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f}) |")
        print(name, [f"{value:.3f}" for value in values])
    text = "\n".join(rows) + (
        f"\n\nMedian (range) of n = {turns} turns of a run without and one with each; of each run the median of epochs {FIRST + 1} "
        f"to {EPOCHS}; LeNet-5 on MNIST, batches of 32, {machine()}. Remade by `python {SCRIPT}`.\n"
    )
    write_section("docs/tracking.md", SCRIPT, text)


def epoch_seconds(run_dir: Path, words: list[str]) -> float:
    """The median of the epochs of a run. Raises DigitnetError."""
    settings = ["data=mnist", f"trainer.epochs={EPOCHS}", "logger=metrics", "checkpoint.every_epochs=null"]
    result = run(*settings, *words, run_dir=run_dir)
    return statistics.median(record.epoch_seconds for record in result.records[FIRST:])


if __name__ == "__main__":
    main()
