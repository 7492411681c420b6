"""How long `digitnet compare` takes over many runs, in turns with an empty Python and with `digitnet --help`.

    python benchmarks/compare.py --runs 1000 --turns 5

The runs are made for it, with the files that compare reads as digitnet writes them: sweeps of nine jobs (three learning
rates, three seeds), 20 epochs each; then again as an earlier version wrote them, without the
configuration in summary.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import yaml

from digitnet.config.compose import load_config
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.runs.formats import RunSummary, write_metrics, write_summary
from digitnet.sweep.manifest import Job, Sweep
from digitnet.training.record import EpochRecord
from documents import machine

DIGITNET = [sys.executable, "-m", "digitnet"]
EPOCHS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, config in zip(range(options.runs), configurations(), strict=False):
            write_run(folder / "new" / f"{number // 9:05}" / job_name(config), config, number)
        for sweep in (folder / "new").iterdir():
            write_sweep(sweep)
        write_earlier_version(folder)
        report(folder, options.runs, options.turns)


def configurations() -> Iterator[dict[str, object]]:
    """Repeat three learning rates with three seeds each, without end."""
    kinds = [
        load_config(["data=mnist", f"optimizer.lr={lr}", f"seed={seed}"]).model_dump()
        for lr in (0.1, 0.3, 1)
        for seed in (0, 1, 2)
    ]
    while True:
        yield from kinds


def job_name(config: dict[str, object]) -> str:
    optimizer = config["optimizer"]
    assert isinstance(optimizer, dict)
    return f"lr={optimizer['lr']:g},seed={config['seed']}"


def write_run(folder: Path, config: dict[str, object], number: int) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    errors = [1000 / epoch + number % 97 for epoch in range(1, EPOCHS + 1)]
    records = [
        EpochRecord(n, 0.1, few / 2000, 1 - few / 1e4, few / 3000, 1 - few / 1e4, 3.14159 + n / 7, 19121.0 / n)
        for n, few in enumerate(errors, start=1)
    ]
    last = records[-1]
    write_metrics(folder / "metrics.csv", records)
    write_summary(
        folder / "summary.json",
        RunSummary(
            status="finished",
            command=f"digitnet {job_name(config)}",
            seed=number,
            versions={"digitnet": "0", "python": "3"},
            dataset={"name": "mnist", "classes": list("0123456789"), "validation_on": "test set"},
            model="lenet5",
            parameters=166_826,
            device={"type": "cpu", "name": "CPU", "threads": 2},
            epochs=EPOCHS,
            final=asdict(last),
            best={"epoch": last.epoch, "val_loss": last.val_loss, "val_acc": last.val_acc, "chosen_on": "test set"},
            test={"loss": last.val_loss, "accuracy": last.val_acc, "errors": round(errors[-1]), "n": 10_000},
            seconds=65.4321,
            config=config,
            process={"pid": 1, "host": "here"},
        ),
    )


def write_sweep(folder: Path) -> None:
    """Write its sweep.json."""
    sweep = Sweep(folder, "digitnet -m", "/", LocalLauncherConfig(name="local", jobs=2, threads=None, gpus=1.0))
    for run in folder.iterdir():
        config = json.loads((run / "summary.json").read_bytes())["config"]
        sweep.jobs[run.name] = Job(run.name, run.name.split(","), "digitnet", config)
    sweep.write()


def write_earlier_version(folder: Path) -> None:
    """Write the same runs into `old`, with their configuration in .hydra/config.yaml only."""
    for path in (folder / "new").rglob("summary.json"):
        copy = folder / "old" / path.parent.relative_to(folder / "new")
        (copy / ".hydra").mkdir(parents=True)
        (copy / ".hydra" / "config.yaml").write_bytes((path.parent / ".hydra" / "config.yaml").read_bytes())
        content = json.loads(path.read_bytes())
        del content["config"]
        (copy / "summary.json").write_text(json.dumps(content, indent=2))


def report(folder: Path, runs: int, turns: int) -> None:
    """Time all commands in turns, and print a table."""
    commands = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`digitnet --help`": [*DIGITNET, "--help"],
        "`digitnet compare` on one run": [
            *DIGITNET,
            "compare",
            str(next((folder / "new").rglob("summary.json")).parent),
        ],
        f"`digitnet compare` on {runs:,}": [*DIGITNET, "compare", "new"],
        f"the same on {runs:,} of an old version": [*DIGITNET, "compare", "old"],
        f"`digitnet compare --group-by lr` on {runs:,}": [*DIGITNET, "compare", "new", "--group-by", "lr"],
        f"`digitnet compare --format json` on {runs:,}": [*DIGITNET, "compare", "new", "--format", "json"],
        f"`digitnet compare --plot` on {runs:,}": [*DIGITNET, "compare", "new", "--plot", "new.png"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(turns + 1):  # the first warms the disk's cache up
        for name, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stderr}")
            if turn:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    empty, usage, *_ = medians.values()
    print("| | s, median | slowest | of `python -c pass` | of `digitnet --help` |\n|---|---|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {max(seconds[name]):.2f} | {median / empty:.1f} x | {median / usage:.1f} x |")
    print(f"\nn = {turns} turns; {machine()}.")


if __name__ == "__main__":
    main()
