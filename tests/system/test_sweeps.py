"""`digitnet -m`: jobs and their folders, the table, failures, and what is found before the first job."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, TINY, Command, write
from digitnet.config.compose import load_config
from digitnet.config.files import Tree
from digitnet.config.schema import LocalLauncherConfig, RayLauncherConfig, SlurmLauncherConfig
from digitnet.errors import ConfigError
from digitnet.experiment import build
from digitnet.runs.formats import read_metrics, read_summary
from digitnet.sweep import capacity
from digitnet.sweep.launchers.local import LocalLauncher
from digitnet.sweep.plan import plan_sweep

SWEEP = Path("sweep")
QUICK = ["-m", *TINY, "trainer.epochs=1", "hydra.sweep.dir=sweep"]


def accuracy_of(job: str) -> float:
    final = read_summary(SWEEP / job / "summary.json").final
    assert final is not None
    return float(final["val_acc"])


@pytest.mark.parametrize("launcher", ["serial", "local"])
def test_jobs_are_named_by_what_differs_and_compared_best_first(shell: Command, launcher: str) -> None:
    options = [*QUICK, f"hydra/launcher={launcher}", "optimizer=adam", "optimizer.lr=0.001,0.00001", "seed=3,4"]
    done = shell(*options)
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
    assert summary.command == " ".join(words).replace("epochs=2", "epochs=1")  # what stands twice, stands there once
    assert (summary.status, summary.seed) == ("finished", 3)

    lines = done.out.splitlines()
    assert {line.partition(":")[0] for line in lines[:4]} == set(jobs)  # as they end
    heading, *rows = lines[6:]
    assert lines[5] == "sweep:"
    assert re.split("  +", heading.strip()) == [
        "lr",
        "seed",
        "epochs",
        "val acc",
        "best val acc",
        "test acc",
        "errors",
        "time",
        "folder",
    ]
    order = [row.split()[-1] for row in rows]
    assert order == sorted(jobs, key=accuracy_of, reverse=True)
    assert f"{100 * accuracy_of(order[0]):.2f} %" in rows[0]


def test_what_one_job_does_stops_no_other(shell: Command) -> None:
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
    done = shell(*QUICK, *networks, "hydra/launcher=local")
    assert done.code == 1
    assert done.err == "error: 5 jobs of 6 failed; to try again: digitnet resume sweep\n"
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


def test_a_sweep_in_which_all_that_failed_diverged_is_not_to_be_tried_again(shell: Command) -> None:
    done = shell(*QUICK, "optimizer.lr=0.1,1e30")
    assert (done.code, done.err) == (1, "error: 1 job of 2 failed\n")


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        (
            ["optimizer.lr=0.1,abc,-2", "seed=0,x"],
            "seed=x: should be a valid integer\n"
            "optimizer.lr=abc: should be a valid number\n"
            "optimizer.lr=-2: should be greater than 0",
        ),
        (["model=lenet5,lenet"], "model=lenet: no such option … did you mean 'lenet5'? There are *"),
        (
            ["optimizer=sgd,adam", "optimizer.momentum=0,0.9"],
            "no key 'optimizer.momentum'; it belongs to optimizer=sgd and optimizer=rmsprop",
        ),
        (
            ["aug=none,distort", "trainer.epochs=1,3"],
            "aug.warmup_epochs=2: no image would be distorted, as the run has only 1 epoch; *",
        ),
        (["optimizer.lrr=1,2"], "no key 'optimizer.lrr' … did you mean 'optimizer.lr'?"),
        (["seed=range(0)"], "seed=range(0): there is no value in it"),
        (
            ["optimizer.lr=interval(0.1,1)"],
            "optimizer.lr=interval(0.1,1): a sweep is over values; digitnet tune searches in between",
        ),
        (
            ["seed=0,1", "hydra.sweep.subdir=x"],
            "hydra.sweep.subdir=x: a job's folder is named by what differs; leave it out",
        ),
        (["seed=0,1", "hydra/launcher=joblib"], "hydra/launcher=joblib: no such option; there are *"),
        (["seed=0,1", "hydra/launcher=basic", "hydra.launcher.jobs=2"], "no key 'hydra.launcher.jobs'*"),
        (["seed=0,1", "hydra.launcher.jobs=0"], "hydra.launcher.jobs=0: should be greater than or equal to 1"),
        (
            ["seed=0,1", "hydra/launcher=local", "hydra.launcher.thread=2"],
            "no key 'hydra.launcher.thread' … did you mean 'hydra.launcher.threads'?",
        ),
        (
            ["seed=0,1", "hydra/launcher=slurm", "hydra.launcher.partition='a b; rm'"],
            "hydra.launcher.partition=a b; rm: string should match pattern *",
        ),
        (
            ["seed=0,1", "hydra.sweeper.max_batch_size=3"],
            "hydra.sweeper.max_batch_size: hydra.launcher.jobs says how many run at a time",
        ),
        (["sweep=lrs"], "sweep=lrs: no such option … did you mean 'lr'? There are lr, models, seeds"),
        (
            ["seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=nowhere"],
            "hydra.launcher.address=nowhere: is not HOST:PORT, nor auto",
        ),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_is_wrong_is_found_before_the_first_job(command: Command, overrides: list[str], answer: str) -> None:
    done = command("-m", "data=digits", *overrides)
    assert done.code == 2
    start, star, _ = f"error: {answer}\n".partition("*")
    assert done.err.startswith(start)
    assert star or done.err == start
    assert not list(Path("outputs").glob("sweeps/*"))


def test_where_there_is_no_cluster(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = command("-m", "seed=0,1", "hydra/launcher=slurm")
    assert (done.code, done.err) == (
        1,
        "error: hydra/launcher=slurm: this machine has no sbatch; start the sweep where Slurm is, on a login node,\n"
        "or on this machine: hydra/launcher=local\n",
    )
    done = command("-m", "seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:9")
    assert (done.code, done.err) == (
        1,
        "error: hydra.launcher.address=127.0.0.1:9: no Ray cluster answers there ([Errno 111] Connection refused);\n"
        "start one with `ray start --head`, or set hydra.launcher.address=HOST:PORT\n",
    )
    assert not list(Path("outputs").glob("sweeps/*"))


@pytest.mark.parametrize(("launcher", "module", "name"), [("ray", "ray", "Ray"), ("slurm", "submitit", "submitit")])
def test_a_launcher_that_is_not_installed(
    command: Command, monkeypatch: pytest.MonkeyPatch, launcher: str, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = command("-m", "seed=0,1", f"hydra/launcher={launcher}")
    assert (done.code, done.err) == (
        2,
        f"error: hydra/launcher={launcher}: {name} is not installed; pip install 'digitnet[{launcher}]'\n",
    )


def test_a_folder_of_another_sweep_is_not_taken(command: Command) -> None:
    write(SWEEP / "sweep.json", "{}")
    done = command(*QUICK, "seed=0,1")
    assert (done.code, done.err) == (
        2,
        "error: sweep: holds a run already, and runs never share a folder; choose another\n",
    )
    assert (SWEEP / "sweep.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("preset", "jobs", "first"),
    [
        ("lr", 18, ["optimizer.lr=0.01", "seed=0"]),
        ("models", 18, ["model=lenet5", "aug=none", "seed=0"]),
        ("seeds", 10, ["seed=0"]),
    ],
)
def test_presets(preset: str, jobs: int, first: list[str]) -> None:
    plan = plan_sweep([f"sweep={preset}"], Tree.at())
    combinations = plan.combinations()
    assert len(combinations) == jobs
    assert combinations[0] == [*first, f"sweep={preset}"]
    found = plan.jobs(plan.covering())
    assert {value for job in found for value in job.overrides} == {value for words in combinations for value in words}


def test_a_preset_needs_no_flag_and_the_command_line_outdoes_it(command: Command) -> None:
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


def test_a_preset_that_sweeps_what_does_not_compose_is_no_valid_one(command: Command) -> None:
    write(
        Path("conf/sweep/mine.yaml"),
        "# @package _global_\n# Mine.\nhydra: {sweeper: {params: {optimizer.lr: '0.1,1,-1', seed: '0,1'}}}\n",
    )
    done = command("validate", "--schema-only", "sweep=mine")
    assert (done.code, done.out) == (2, "optimizer.lr=-1: should be greater than 0 [sweep=mine]\n")


def names_of(*overrides: str) -> list[str]:
    plan = plan_sweep(overrides, Tree.at())
    return [job.name for job in plan.jobs(plan.combinations())]


def test_names_of_jobs() -> None:
    assert names_of("seed=0,1") == ["seed=0", "seed=1"]
    assert names_of("seed=3") == ["0"]  # nothing differs
    assert names_of("optimizer=sgd,adam") == ["optimizer=sgd", "optimizer=adam"]
    assert names_of("optimizer=adam", "optimizer.betas=[0.9,0.99],[0.5,0.9]") == ["betas=0.9_0.99", "betas=0.5_0.9"]
    assert names_of("aug=distort", "aug.scale=0,0.1", "seed=1,2")[3] == "scale=0.1,seed=2"
    long = names_of("model.init=glorot,glorot_keras2016", *(f"optimizer.{k}=0.1,0.2" for k in ("lr", "momentum")))
    assert long[0] == "init=glorot,lr=0.1,momentum=0.1"
    # Where what is left of two values is the same, or a name is too long for a folder, a number keeps them apart.
    assert names_of("data=folder", "data.root=a/b,a_b") == ["0,root=a_b", "1,root=a_b"]
    folders = names_of("data=folder", f"data.root={'x' * 300}/1,{'x' * 300}/2")
    assert [name[:7] for name in folders] == ["0,root=", "1,root="]
    assert all(len(name) <= 100 for name in folders)


def test_a_sweep_of_a_sweeper_of_hydras_optimizes_the_validation_accuracy(
    shell: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plugins get what each job of theirs gave, and None of those that failed."""
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
    done = shell(*QUICK, "optimizer=adam", "hydra/sweeper=climber")
    assert done.err == "error: 1 job of 4 failed\n"
    best, good, failed = Path("found").read_text().split()
    assert (float(best), good, failed) == (accuracy_of("1,lr=0.001"), "2", "FAILED")
    names = ["0,lr=0.00001", "1,lr=0.001", "2,lr=1e30", "3,lr=0.001,seed=1"]
    assert sorted(path.parent.name for path in SWEEP.glob("*/summary.json")) == names


# What has room where.


def launcher(**options: Any) -> LocalLauncherConfig:
    return LocalLauncherConfig.model_validate({"name": "local", "jobs": None, "threads": 1, "gpus": 1.0, **options})


@pytest.mark.parametrize(
    ("options", "cores", "gpus", "on_gpus", "slots"),
    [
        ({}, 8, 0, True, 8),
        ({"threads": 3}, 8, 0, True, 2),
        ({"threads": 16}, 8, 0, True, 1),
        ({"threads": None}, 8, 0, True, 8),
        ({"jobs": 3}, 8, 0, True, 3),
        ({}, 8, 2, True, 2),
        ({}, 8, 2, False, 8),  # they stay on the CPU
        ({"gpus": 0.5}, 8, 2, True, 4),
        ({"gpus": 0.1}, 8, 2, True, 8),
        ({"gpus": 2.0}, 8, 3, True, 1),
        ({"gpus": 4.0}, 8, 3, True, 1),
    ],
)
def test_as_many_jobs_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], cores: int, gpus: int, on_gpus: bool, slots: int
) -> None:
    monkeypatch.setattr(capacity, "cores", lambda: cores)
    monkeypatch.setattr(capacity, "gpus", lambda: gpus)
    assert capacity.slots(launcher(**options), on_gpus) == slots


def test_jobs_have_no_more_threads_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "cores", lambda: 8)
    monkeypatch.setattr(capacity, "gpus", lambda: 0)

    def threads(options: Mapping[str, Any], *overrides: str) -> int | None:
        return capacity.with_threads(load_config(overrides), launcher(**options)).trainer.threads

    assert threads({}) == 1
    assert threads({"jobs": 3, "threads": 4}) == 2
    assert threads({"jobs": 3, "threads": None}) == 2
    assert threads({"jobs": 1, "threads": None}) is None  # PyTorch's own choice, as for a run alone
    assert threads({"jobs": 2}, "trainer.threads=4") == 4
    assert threads({"jobs": 1}, "trainer.threads=8") == 8
    with pytest.raises(ConfigError) as error:
        threads({"jobs": 3}, "trainer.threads=4")
    assert str(error.value) == (
        "trainer.threads=4: 3 jobs at a time on 8 cores leave each 2; lower it, or hydra.launcher.jobs"
    )


def test_jobs_elsewhere_have_the_threads_they_ask_for() -> None:
    ray = RayLauncherConfig(name="ray", address="auto", jobs=None, cpus=2.5, gpus=0)
    assert capacity.with_threads(load_config([]), ray).trainer.threads == 2
    assert capacity.with_threads(load_config([]), ray.model_copy(update={"cpus": 0.5})).trainer.threads == 1
    assert capacity.with_threads(load_config(["trainer.threads=7"]), ray).trainer.threads == 7
    plan = plan_sweep(["-m", "hydra/launcher=slurm", "hydra.launcher.cpus=3"][1:], Tree.at())
    assert isinstance(plan.sweep.launcher, SlurmLauncherConfig)
    assert capacity.with_threads(load_config([]), plan.sweep.launcher).trainer.threads == 3


def test_gpus_are_counted_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value, count in (("0,1,3", 3), ("", 0), ("-1", 0), ("GPU-a,GPU-b", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert capacity.gpus() == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert capacity.gpus() == 0
    write(tmp_path / "nvidia-smi", "#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: A'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert capacity.gpus() == 2


@pytest.mark.parametrize(
    ("slots", "share", "dealt"), [(3, 1.0, [0, 1, 2]), (4, 0.5, [0, 0, 1, 1]), (2, 2.0, [0, 2]), (3, 0.4, [0, 0, 0])]
)
def test_gpus_are_dealt_out(slots: int, share: float, dealt: list[int]) -> None:
    jobs = LocalLauncher(Path("sweep"), launcher(gpus=share), slots, trust=False)
    assert [jobs.gpu_of(slot) for slot in range(slots)] == dealt


def test_data_are_loaded_once_for_all_jobs(shell: Command) -> None:
    """A job finds those that the process has, from which it was forked."""
    write(
        Path("mine.py"),
        "from torch import nn\n"
        "from digitnet import build\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "        open('shared', 'a').write(f'{len(build._shared)}\\n')\n",
    )
    done = shell(*QUICK, "model=custom", "model.target=mine:Net", "seed=0,1", "hydra/launcher=local")
    assert (done.code, done.err) == (0, "")
    assert Path("shared").read_text() == "1\n1\n"


def test_shared_data_are_the_ones_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_shared", {})
    digits = load_config(["data=digits", "data.enlarge_to=1437"]).data
    build.share(digits)
    assert build.data(digits) is build.data(digits)
    assert len(build.data(load_config(["data=digits", "data.enlarge_to=1500"]).data).train) == 1500


def test_the_environment_stays_as_it_was_after_a_sweep(command: Command) -> None:
    before = dict(os.environ)
    assert command(*QUICK, "seed=0,1").code == 0
    assert dict(os.environ) == before
    assert [len(read_metrics(SWEEP / f"seed={seed}" / "metrics.csv")) for seed in (0, 1)] == [1, 1]


def test_help_and_plans_import_neither_torch_nor_launchers() -> None:
    import subprocess

    code = (
        "import sys; from digitnet.cli import main; main(['-m', 'seed=0,x', 'hydra/launcher=ray']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'submitit', 'optuna')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_every_launcher_says_what_it_is(command: Command) -> None:
    done = command("help", "hydra/launcher")
    assert done.code == 0
    names = sorted(path.stem for path in (CHECKOUT / "conf/hydra/launcher").iterdir())
    assert re.findall(r"^hydra/launcher=(\w+): ", done.out, flags=re.MULTILINE) == names
    assert "  hydra.launcher.minutes=60 " in done.out
