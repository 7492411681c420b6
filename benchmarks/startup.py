"""How long a person waits for an answer: the command line against `import torch`, in turns.

    python benchmarks/startup.py --turns 10

Each command runs in a process of its own, in an empty folder, one after the other; a turn runs all of them, so that
other load on the machine slows all of them alike. The first training step is timed from the start of the process to the
first call of `train_step`, on the embedded digits as people type it. The table goes into docs/performance.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from documents import machine, write_section

FIRST_STEP = """
import os, sys
import importlib.abc
class Watch(importlib.abc.MetaPathFinder):  # replaces the training step before anything imports it by name
    def find_spec(self, name, path, target=None):
        if name == "digitnet.experiment.components":
            sys.meta_path.remove(self)
            import digitnet.training.step
            digitnet.training.step.train_step = lambda *_, **__: os._exit(0)
sys.meta_path.insert(0, Watch())
from digitnet.cli import main
sys.exit(main(sys.argv[1:]) or 1)
"""
DIGITNET = [sys.executable, "-m", "digitnet"]
MISTAKE = "a mistake, `optimizer.lrr=1`"
IMPORT_TORCH = "`python -c 'import torch'`"
COMMANDS = {
    IMPORT_TORCH: [sys.executable, "-c", "import torch"],
    "`digitnet --help`": [*DIGITNET, "--help"],
    "`digitnet --version`": [*DIGITNET, "--version"],
    "`digitnet --cfg job`": [*DIGITNET, "--cfg", "job"],
    "`digitnet --info`": [*DIGITNET, "--info"],
    "the tab key after `optimizer.`": [*DIGITNET, "completion", "query", "digitnet optimizer."],
    MISTAKE: [*DIGITNET, "optimizer.lrr=1"],
    "`digitnet validate --schema-only`": [*DIGITNET, "validate", "--schema-only"],
    "`digitnet validate`": [*DIGITNET, "validate"],
    "`digitnet aug=distort data=digits` to its first step": [
        *[sys.executable, "-c", FIRST_STEP],
        *["aug=distort", "data=digits", "aug.warmup_epochs=0", "trainer.epochs=1"],
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    turns = parser.parse_args().turns
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns + 1):  # the first warms the disk's cache up
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                done = subprocess.run(command, cwd=folder, env=os.environ | {"COLUMNS": "120"}, capture_output=True)
                if done.returncode != (2 if name == MISTAKE else 0):
                    raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stderr.decode()}")
                if turn:
                    seconds[name].append(time.perf_counter() - start)
    torch = seconds[IMPORT_TORCH]
    rows = ["| | s, median | slowest | more than `import torch` |", "|---|---|---|---|"]
    for name, times in seconds.items():
        more = statistics.median(time - base for time, base in zip(times, torch, strict=True))
        rows.append(
            f"| {name} | {statistics.median(times):.2f} | {max(times):.2f} | {f'{more:.2f} s' if more > 0 else '–'} |"
        )
    note = f"n = {turns} turns; {machine()}. Remade by `python benchmarks/startup.py --turns {turns}`."
    text = "\n".join([*rows, "", note, ""])
    print(text)
    write_section("docs/performance.md", "benchmarks/startup.py", text)


if __name__ == "__main__":
    main()
