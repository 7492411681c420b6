"""One sweep on MNIST by each launcher: how long it takes, and its figures after it was killed once and resumed.

    python benchmarks/sweeps.py            # by each launcher, killed and resumed; into docs/sweeps.md, docs/sweep.png
    python benchmarks/sweeps.py --turns 2  # times only: one at a time, and two at a time

Nine jobs of three epochs (learning rates × seeds), by each launcher killed with SIGKILL when the first job has
finished, and resumed; their figures are compared. For Ray it starts a cluster of two nodes on this
machine; Slurm must run already, or it is left out.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from digitnet.runs.formats import read_metrics
from digitnet.runs.reader import Run, find_runs
from documents import CHECKOUT, machine, write_section

SWEPT = ["optimizer.lr=0.1,0.3,1", "seed=0,1,2", "trainer.epochs=3", "logger=metrics"]
DIGITNET = [sys.executable, "-m", "digitnet"]
RAY = str(Path(sys.executable).with_name("ray"))
LAUNCHERS = {"local": "two at a time", "ray": "Ray, two nodes of a core", "slurm": "Slurm, one node"}


def command_of(launcher: str, folder: Path) -> list[str]:
    return [*DIGITNET, "-m", *SWEPT, f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder}"]


def run(command: Sequence[str]) -> float:
    """Seconds that it takes; ends the program where it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def killed_and_resumed(launcher: str, folder: Path) -> None:
    with subprocess.Popen(command_of(launcher, folder), stdout=subprocess.DEVNULL) as sweep:
        while sum(run.status == "finished" for run in found(folder)) < 1:
            if sweep.poll() is not None:
                raise SystemExit(f"{launcher}: the sweep ended before it was killed")
            time.sleep(0.2)
        sweep.kill()
    unfinished = sum(run.status != "finished" for run in found(folder))
    print(f"{launcher}: killed with {unfinished} jobs of 9 unfinished, resumed after", end=" ", flush=True)
    print(f"{run([*DIGITNET, 'resume', str(folder)]):.0f} s")


def found(folder: Path) -> list[Run]:
    return find_runs([folder]) if (folder / "sweep.json").exists() else []


def figures(folder: Path) -> dict[str, list[tuple[float, ...]]]:
    """All columns of a job's metrics.csv except its times, by the job's name."""
    return {
        path.parent.name: [(r.lr, r.train_loss, r.train_acc, r.val_loss, r.val_acc) for r in read_metrics(path)]
        for path in folder.glob("*/metrics.csv")
    }


@contextmanager
def ray_cluster() -> Iterator[None]:
    start = [RAY, "start", "--num-cpus=1", "--disable-usage-stats"]
    subprocess.run([*start, "--head", "--port=6379", "--include-dashboard=false"], check=True, capture_output=True)
    try:
        subprocess.run([*start, "--address=127.0.0.1:6379"], check=True, capture_output=True)
        yield
    finally:
        subprocess.run([RAY, "stop", "--force"], check=True, capture_output=True)


def measure(turns: int) -> None:
    """The ratio of the times, in alternating order, so that other load on the machine slows both."""
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(turns):
            order = ["serial", "local"][:: 1 - 2 * (turn % 2)]
            seconds = {name: run(command_of(name, Path(scratch) / f"{name}{turn}")) for name in order}
            ratio = seconds["local"] / seconds["serial"]
            print(
                f"one at a time {seconds['serial']:.0f} s, two at a time {seconds['local']:.0f} s: {ratio:.2f} x",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=0)
    if turns := parser.parse_args().turns:
        measure(turns)
        return
    has_slurm = shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0
    launchers = [name for name in LAUNCHERS if name != "slurm" or has_slurm]
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        for name in launchers:
            if name == "ray":
                with ray_cluster():
                    killed_and_resumed(name, home / name)
            else:
                killed_and_resumed(name, home / name)
        found_by = {name: figures(home / name) for name in launchers}
        if any(len(of) != 9 or of != found_by["local"] for of in found_by.values()):
            raise SystemExit("not the same figures")
        folder = home / "local"
        plot = CHECKOUT / "docs" / "sweep.png"
        shown = ["--group-by", "optimizer.lr", "--format", "md"]
        table = subprocess.run(
            [*DIGITNET, "compare", str(folder), *shown, "--plot", str(plot)], check=True, capture_output=True, text=True
        ).stdout
    names = ", ".join(LAUNCHERS[name] for name in launchers)
    text = (
        f"```sh\ndigitnet -m {' '.join(SWEPT)} hydra/launcher=local hydra.sweep.dir=SWEEP_DIR\n"
        f"digitnet compare SWEEP_DIR --group-by optimizer.lr --plot sweep.png\n```\n\n"
        f"{table}\n![Validation error over the epochs, and test error against the learning rate](sweep.png)\n\n"
        f"Mean ± standard deviation over three seeds, MNIST; {machine()}, one thread a job. Run by each launcher "
        f"({names}), killed once with SIGKILL when its first job had finished, and resumed: all found the same "
        "figures, to the last digit. Remade by `python benchmarks/sweeps.py`.\n"
    )
    print(text)
    write_section("docs/sweeps.md", "benchmarks/sweeps.py", text)


if __name__ == "__main__":
    main()
