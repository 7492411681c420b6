"""`digitnet -m` with jobs that train: folders, tables, failures, resuming."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.sweep.manifest import read_manifest
from sweeping import SWEEP, status_of

QUICK = ["-m", *TINY, "trainer.epochs=1", "hydra.sweep.dir=sweep"]


def accuracy_of(job: str) -> float:
    final = read_summary(SWEEP / job / "summary.json").final
    assert final is not None
    return float(final["val_acc"])


@pytest.mark.parametrize("launcher", ["serial", "local"])
def test_sweep_names_jobs_by_what_differs_and_prints_the_best_first(command: Command, launcher: str) -> None:
    options = [*QUICK, f"hydra/launcher={launcher}", "optimizer=adam", "optimizer.lr=0.001,0.00001", "seed=3,4"]
    done = command(*options)
    assert (done.code, done.err) == (0, "")
    jobs = ["lr=0.001,seed=3", "lr=0.001,seed=4", "lr=1e-05,seed=3", "lr=1e-05,seed=4"]
    assert sorted(path.name for path in SWEEP.glob("[!.]*") if path.is_dir()) == jobs
    for job, number in zip(jobs, range(4), strict=True):
        names = {str(path.relative_to(SWEEP / job)) for path in (SWEEP / job).rglob("*") if path.is_file()}
        hydra = {f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")}
        checkpoints = {"checkpoints/best.pt", "checkpoints/last.pt"}
        assert names == hydra | checkpoints | {".lock", "metrics.csv", "summary.json", "train.log"}
        assert f"num: {number}\n" in (SWEEP / job / ".hydra" / "hydra.yaml").read_text()
    summary = read_summary(SWEEP / jobs[2] / "summary.json")
    words = ["digitnet", *TINY, "optimizer=adam", "optimizer.lr=1e-05", "seed=3"]
    assert summary.command == " ".join(words).replace(
        "epochs=2", "epochs=1"
    )  # of a key that was given twice, the last value
    assert (summary.status, summary.seed) == ("finished", 3)

    first, *lines = done.out.splitlines()
    assert first == "sweep: 4 jobs, model lenet5, data digits; sweep"
    assert {line.partition(":")[0] for line in lines[:4]} == set(jobs)  # as they end
    heading, *rows = lines[6:11]
    assert lines[5] == "sweep:"
    assert heading.split() == ["lr", "seed", "epochs", "test_acc", "test_errors", "seconds", "folder"]
    order = [row.split()[-1] for row in rows]
    assert order == sorted(jobs, key=accuracy_of, reverse=True)
    assert f"{100 * accuracy_of(order[0]):.2f} %" in rows[0]
    assert lines[11:13] == ["", "sweep: mean ± standard deviation over seed"]
    headings = ["lr", "n", "test_acc", "95 % interval", "p against best", "test_errors", "seconds"]
    assert re.split("  +", lines[13].strip()) == headings
    means = {lr: (accuracy_of(f"lr={lr},seed=3") + accuracy_of(f"lr={lr},seed=4")) / 2 for lr in ("0.001", "1e-05")}
    assert [(line.split()[0], line.split()[3]) for line in lines[14:16]] == [
        (lr, f"{100 * means[lr]:.2f}") for lr in sorted(means, key=lambda lr: -means[lr])
    ]


def test_jobs_that_fail_in_any_way_leave_the_others_alone(command: Command) -> None:
    """One is killed, one raises, one exits, one diverges, one cannot be built."""
    write(
        Path("mine.py"),
        "import os, signal, sys\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, how):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        assert how != 'unbuilt'\n"
        "        self.how = how\n"
        "    def forward(self, images):\n"
        "        if self.training and self.how == 'killed': os.kill(os.getpid(), signal.SIGKILL)\n"
        "        if self.training and self.how == 'raises': raise RuntimeError('too much')\n"
        "        if self.training and self.how == 'exits': os._exit(3)\n"
        "        return super().forward(images) * (float('nan') if self.training and self.how == 'diverges' else 1)\n",
    )
    ways = ["killed", "raises", "exits", "diverges", "unbuilt", "well"]
    networks = ["model=custom", "model.target=mine:Net", "model.kwargs=" + ",".join(f"{{how:{way}}}" for way in ways)]
    done = command(*QUICK, *networks, "hydra/launcher=local")
    assert done.code == 1
    assert done.err == "error: 5 jobs of 6 failed; to try again: digitnet resume sweep --trust\n"
    failures = sorted(done.out.partition("\n\n")[2].partition("\n\n")[2].splitlines())
    assert failures[0].startswith("kwargs=how_diverges: diverged: epoch 1, step 1 of 45: the loss is nan")
    assert failures[1:4] == [
        "kwargs=how_exits: failed: ended with exit code 3",
        "kwargs=how_killed: failed: killed by SIGKILL",
        "kwargs=how_raises: failed: RuntimeError: too much",
    ]
    assert failures[4].startswith("kwargs=how_unbuilt: failed: model.target=mine:Net: cannot build it from")
    assert len(failures) == 5
    statuses = {way: read_summary(SWEEP / f"kwargs=how_{way}" / "summary.json").status for way in ways}
    assert statuses == {**dict.fromkeys(ways, "failed"), "diverges": "diverged", "well": "finished"}
    assert read_summary(SWEEP / "kwargs=how_killed" / "summary.json").error == "killed by SIGKILL"


def test_sweep_whose_failures_all_diverged_does_not_suggest_a_resume(command: Command) -> None:
    done = command(*QUICK, "optimizer.lr=0.1,1e30")
    assert (done.code, done.err) == (1, "error: 1 job of 2 failed\n")


def test_resumed_sweep_tries_failed_jobs_again_but_not_diverged_ones(command: Command) -> None:
    write(
        Path("mine.py"),
        "import os\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, how):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        if how == 'fails' and not os.path.exists('fixed'): raise ValueError('not yet')\n",
    )
    networks = ["model=custom", "model.target=mine:Net", "model.kwargs={how:fails},{how:works}"]
    options = ["-m", *TINY, "trainer.epochs=1", *networks, "optimizer.lr=0.1,1e30", "hydra.sweep.dir=sweep"]
    done = command(*options)
    assert done.err == "error: 3 jobs of 4 failed; to try again: digitnet resume sweep --trust\n"
    write(Path("fixed"), "")
    done = command("resume", "sweep", "--trust")
    assert (done.code, done.err) == (1, "error: 2 jobs of 4 failed\n")
    assert status_of("kwargs=how_fails,lr=0.1") == "finished"
    assert status_of("kwargs=how_fails,lr=1e+30") == status_of("kwargs=how_works,lr=1e+30") == "diverged"


def test_resumed_sweep_runs_on_another_launcher_with_the_same_threads(command: Command) -> None:
    assert command(*QUICK, "seed=0,1").code == 0
    (SWEEP / "seed=1" / "summary.json").unlink()
    threads = read_manifest(SWEEP).jobs["seed=1"].config["trainer"]["threads"]
    done = command("resume", "sweep", "hydra/launcher=local", "hydra.launcher.jobs=1")
    assert (done.code, done.err) == (0, "")
    assert status_of("seed=1") == "finished"
    assert read_manifest(SWEEP).jobs["seed=1"].config["trainer"]["threads"] == threads


def test_preset_needs_no_flag_and_the_command_line_takes_precedence(command: Command) -> None:
    write(
        Path("conf/sweep/mine.yaml"),
        "# @package _global_\n# Mine.\ndefaults:\n  - override /optimizer: adam\n"
        "hydra:\n  sweeper:\n    params:\n      optimizer.lr: 0.001,0.01\n      seed: 0,1,2\n",
    )
    done = command("sweep=mine", *QUICK[1:], "seed=5")
    assert (done.code, done.err) == (0, "")
    assert sorted(path.parent.name for path in SWEEP.glob("*/summary.json")) == ["lr=0.001", "lr=0.01"]
    assert read_summary(SWEEP / "lr=0.01" / "summary.json").config["optimizer"]["name"] == "adam"
    assert read_summary(SWEEP / "lr=0.01" / "summary.json").seed == 5


def test_sweeper_plugin_of_hydra_gets_the_validation_accuracies(
    interpreter: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin gets the accuracy of each of its jobs, and the state FAILED of those that failed."""
    write(
        Path("hydra_plugins/climber/__init__.py"),
        "from hydra.core.config_store import ConfigStore\n"
        "from hydra.core.plugins import Plugins\n"
        "from hydra.core.utils import JobStatus\n"
        "from hydra.plugins.sweeper import Sweeper\n"
        "class Climber(Sweeper):\n"
        "    def setup(self, *, hydra_context, task_function, config):\n"
        "        self.launcher = Plugins.instance().instantiate_launcher(\n"
        "            hydra_context=hydra_context, task_function=task_function, config=config)\n"
        "    def sweep(self, arguments):\n"
        "        rates = ['0.00001', '0.001', '1e30']\n"
        "        done = self.launcher.launch([[*arguments, f'optimizer.lr={r}'] for r in rates], initial_job_idx=0)\n"
        "        good = {job._return_value: job for job in done if job.status == JobStatus.COMPLETED}\n"
        "        best = good[max(good)]\n"
        "        self.launcher.launch([[*best.overrides, 'seed=1']], initial_job_idx=len(rates))\n"
        "        with open('found', 'w') as file: file.write(f'{max(good)} {len(good)} {done[2].status.name}')\n"
        "ConfigStore.instance().store(group='hydra/sweeper', name='climber',\n"
        "    node={'_target_': 'hydra_plugins.climber.Climber'})\n",
    )
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    done = interpreter(*QUICK, "optimizer=adam", "hydra/sweeper=climber")
    assert done.err == "error: 1 job of 4 failed\n"
    best, good, failed = Path("found").read_text().split()
    assert (float(best), good, failed) == (accuracy_of("1,lr=0.001"), "2", "FAILED")
    names = ["0,lr=0.00001", "1,lr=0.001", "2,lr=1e30", "3,lr=0.001,seed=1"]
    assert sorted(path.parent.name for path in SWEEP.glob("*/summary.json")) == names


def test_local_jobs_share_data_loaded_once(interpreter: Command) -> None:
    """A job has the data of the process that it was forked from."""
    write(
        Path("mine.py"),
        "from torch import nn\n"
        "from digitnet.experiment import build\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        open('shared', 'a').write(f'{len(build._preloaded)}\\n')\n",
    )
    done = interpreter(*QUICK, "model=custom", "model.target=mine:Net", "seed=0,1", "hydra/launcher=local")
    assert (done.code, done.err) == (0, "")
    assert Path("shared").read_text() == "1\n1\n"


def test_environment_is_unchanged_after_a_sweep(command: Command) -> None:
    before = dict(os.environ)
    assert command(*QUICK, "seed=0,1").code == 0
    assert dict(os.environ) == before
    assert [len(read_metrics(SWEEP / f"seed={seed}" / "metrics.csv")) for seed in (0, 1)] == [1, 1]


def test_planning_a_sweep_imports_neither_torch_nor_launchers() -> None:
    code = (
        "import sys; from digitnet.cli import main; main(['-m', 'seed=0,x', 'hydra/launcher=ray']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'submitit', 'optuna')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
