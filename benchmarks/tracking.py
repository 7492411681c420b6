"""How much a tracker slows an epoch of LeNet-5 on MNIST: epochs with and without it, in turns.

    DIGITNET_DATA=… python benchmarks/tracking.py --turns 5

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
EPOCHS = 8
FIRST = 3  # epochs that are left out: the tracker's library is imported meanwhile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    ratios: dict[str, list[float]] = {name: [] for name in TRACKERS}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"TRACKIO_DIR": f"{scratch}/trackio", "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db"}
        for turn in range(turns):
            for name, words in TRACKERS.items():
                without = epoch_seconds(Path(scratch, f"{name}-{turn}-without"), [])
                with_it = epoch_seconds(Path(scratch, f"{name}-{turn}-with"), words)
                ratios[name].append(with_it / without)
    rows = ["| tracker | an epoch takes, times the one without |", "|---|---|"]
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        rows.append(f"| `{name}` | {middle:.3f} ({low:.3f} to {high:.3f}) |")
        print(name, [f"{value:.3f}" for value in values])
    text = "\n".join(rows) + (
        f"\n\nMedian (quartiles) of n = {turns} pairs of runs in turns; of each run the median of epochs {FIRST + 1} "
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
