"""`digitnet tune`: values in the space, pruning, going on with a search that was stopped, and what is refused."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from conftest import Command, write
from digitnet import cli
from digitnet.config.compose import load_config
from digitnet.config.schema import LocalLauncherConfig
from digitnet.errors import ConfigError, DigitnetError
from digitnet.lock import locked
from digitnet.runs.formats import RunSummary, read_metrics, read_summary, write_metrics, write_summary
from digitnet.sweep import manifest, search
from digitnet.sweep.manifest import Dimension, Job, Search, Sweep
from digitnet.sweep.search import Trials
from digitnet.training.record import EpochRecord
from sweeping import wait_for

SWEEP = Path("sweep")
DATA = ["data=digits", "data.enlarge_to=1437", "data.validation=300"]
OPTIONS = [*DATA, "logger=metrics", "trainer.threads=1", "optimizer=adam"]
UNTRUSTED = (
    "error: sweep: its network is mine:{}, which would be imported and run;\n"
    "if you trust whom the folder is from, add --trust\n"
)
LR = "optimizer.lr=tag(log,interval(0.001,0.1))"
NETWORKS = """
import time
from pathlib import Path
from torch import nn

class Linear(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

class Broken(Linear):
    def forward(self, images):
        if Path("broken").exists():
            raise RuntimeError("too much")
        return super().forward(images)

class Diverging(Linear):
    def forward(self, images):
        return super().forward(images) * (float("nan") if Path("diverges").exists() else 1)

class Slow(Linear):
    def forward(self, images):
        if self.training and Path("slow").exists():
            time.sleep(0.03)
        return super().forward(images)

class Late(Linear):  # only in the first job it learns anything
    late = len(list(Path("sweep").glob("[0-9]*"))) > 1
    def forward(self, images):
        if self.training and self.late:
            time.sleep(0.04)
        return super().forward(images) * (not self.late)
"""


def tune(network: str, *more: str) -> list[str]:
    """The words of a search with one of the networks above."""
    write(Path("mine.py"), NETWORKS)
    return ["tune", *OPTIONS, "hydra.sweep.dir=sweep", "model=custom", f"model.target=mine:{network}", LR, *more]


def summaries(sweep: Path = SWEEP) -> dict[str, RunSummary]:
    """Of all trials, by their names, in their order."""
    found = {path.parent.name: read_summary(path) for path in sweep.glob("*/summary.json")}
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(",")[0])))


def states() -> list[str]:
    """Of all trials, as Optuna has them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return [trial.state.name for trial in search.open_study(manifest.read_manifest(SWEEP)).trials]


def accuracy(summary: RunSummary) -> float:
    assert summary.final is not None
    return float(summary.final["val_acc"])


def test_a_search_tries_values_of_the_space_and_prints_the_best(shell: Command, command: Command) -> None:
    size = "trainer.batch_size=int(tag(log,interval(100,1000)))"
    space = [LR, "optimizer=adam,sgd", size]
    done = shell("tune", *OPTIONS, *space, "hydra.sweep.dir=sweep", "trainer.epochs=1", "--trials", "2")
    assert (done.code, done.err) == (0, "")
    found = summaries()
    assert len(found) == 2
    for number, (name, summary) in enumerate(found.items()):
        optimizer, batch_size = summary.config["optimizer"], summary.config["trainer"]["batch_size"]
        assert summary.status == "finished"
        assert 0.001 <= optimizer["lr"] <= 0.1
        assert optimizer["lr"] == float(f"{optimizer['lr']:.4g}")
        assert optimizer["name"] in ("adam", "sgd")
        assert 100 <= batch_size <= 1000
        assert name == f"{number},optimizer={optimizer['name']},lr={optimizer['lr']},batch_size={batch_size}"
    assert len({summary.config["optimizer"]["lr"] for summary in found.values()}) == 2
    assert states() == ["COMPLETE"] * 2

    folders = re.findall(r"  (\d,\S+)$", done.out, flags=re.MULTILINE)  # in the table
    *_, best, words = done.out.splitlines()
    first = max(found, key=lambda name: accuracy(found[name]))
    assert folders[0] == first
    assert best == f"best: {100 * accuracy(found[first]):.2f} %, sweep/{first}"
    assert load_config(shlex.split(words)[1:]).model_dump(mode="json") == found[first].config

    again = command("resume", "sweep")
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("finished; for more: digitnet resume sweep --trials N\n\nsweep:\n")
    assert again.out.partition("\n\n")[2] == done.out.partition("\n\n")[2]


def test_what_falls_behind_is_pruned_and_left_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STARTUP_TRIALS", 1)
    words = tune("Late", "trainer.batch_size=128", "trainer.epochs=8", "--trials", "2")
    done = command(*words)
    assert (done.code, done.err) == (0, "")
    first, second = summaries().values()
    assert (first.status, second.status) == ("finished", "interrupted")
    assert 3 <= second.epochs < 8
    why = f"pruned after epoch {second.epochs}: behind the median of the trials before"
    assert second.error == why
    assert f"\n{list(summaries())[1]}: interrupted: {why}\nbest: " in done.out
    assert states() == ["COMPLETE", "PRUNED"]

    again = command("resume", "sweep", "--trust")
    assert (again.code, again.err) == (0, "")
    assert list(summaries().values()) == [first, second]

    shutil.rmtree("sweep")
    assert command(*words, "trainer.epochs=4", "--no-pruning").code == 0
    assert [summary.epochs for summary in summaries().values()] == [4, 4]


def test_a_trial_that_failed_is_tried_again_when_the_search_is_resumed(command: Command) -> None:
    Path("broken").touch()
    done = command(*tune("Broken", "trainer.epochs=1", "optimizer.lr=0.001,0.002", "trainer.threads=null"))
    assert (done.code, done.err) == (1, "error: 2 jobs of 2 failed; to try again: digitnet resume sweep\n")
    assert "best: " not in done.out
    assert states().count("RUNNING") == 2
    names = list(summaries())
    Path("broken").unlink()
    done = command("resume", "sweep", "--trust", "hydra/launcher=local", "hydra.launcher.jobs=2")
    assert (done.code, done.err) == (0, "")
    assert list(summaries()) == names
    assert {summary.status for summary in summaries().values()} == {"finished"}
    assert states().count("COMPLETE") == 2
    done = command("resume", "sweep", "--trust")
    assert done.out.startswith("all combinations were tried\n")


def test_a_trial_that_diverges_is_no_failure_and_not_the_best(command: Command) -> None:
    Path("diverges").touch()
    done = command(*tune("Diverging", "trainer.epochs=1", "--trials", "1"))
    assert (done.code, done.err) == (1, "error: sweep: no trial has finished; search among other values\n")
    Path("diverges").unlink()
    done = command("resume", "sweep", "--trials", "2", "--trust")
    assert (done.code, done.err) == (0, "")
    assert [summary.status for summary in summaries().values()] == ["diverged", "finished"]
    assert f", sweep/{list(summaries())[1]}\n" in done.out
    assert states() == ["COMPLETE", "COMPLETE"]

    fewer = command("resume", "sweep", "--trials", "1", "--trust")
    assert (fewer.code, fewer.err) == (2, "error: --trials 1: the search has 2 already; ask for more\n")
    more = command("resume", "sweep", "--trials", "3")  # of a network that is imported for the new trials alone
    assert (more.code, more.err) == (2, UNTRUSTED.format("Diverging"))


def test_no_combination_is_tried_twice_and_what_does_not_go_together_is_left_out(command: Command) -> None:
    pairs = ["optimizer=sgd", "optimizer.momentum=0,0.9", "optimizer.nesterov=false,true"]
    done = command(*tune("Linear", "trainer.epochs=1", "optimizer.lr=0.1", *pairs))
    assert (done.code, done.err) == (0, "")
    tried = sorted(name.partition(",")[2] for name in summaries())
    assert tried == ["momentum=0,nesterov=False", "momentum=0.9,nesterov=False", "momentum=0.9,nesterov=True"]
    refused = re.findall(r"^\d+: not tried: (.*)", done.out, flags=re.MULTILINE)
    assert refused in ([], ["optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9"])


def epochs_of(trial: int) -> int:
    return sum(len(read_metrics(path)) for path in SWEEP.glob(f"{trial},*/metrics.csv"))


def test_stopped_and_killed_and_resumed_it_is_the_search_that_was_left_alone(command: Command) -> None:
    words = tune("Slow", "trainer.epochs=3", "--trials", "3")

    def press_ctrl_c() -> None:
        wait_for(lambda: epochs_of(0) == 3)
        Path("slow").touch()
        wait_for(lambda: epochs_of(1) == 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press_ctrl_c)
    thread.start()
    interrupted = command(*words)
    thread.join()
    assert interrupted.code == 130
    assert interrupted.err == "error: interrupted by SIGINT; to go on: digitnet resume sweep\n"
    first, second = summaries()
    assert summaries()[second].status == "interrupted"
    assert f"\nbest: {100 * accuracy(summaries()[first]):.2f} %, sweep/{first}\n" in interrupted.out
    assert states() == ["COMPLETE", "RUNNING"]
    untrusted = command("resume", "sweep")
    assert (untrusted.code, untrusted.err) == (2, UNTRUSTED.format("Slow"))

    resumed = [sys.executable, "-W", "error", "-m", "digitnet", "resume", "sweep", "--trust"]
    with subprocess.Popen(resumed, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: epochs_of(2) == 1 or process.poll() is not None)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    Path("slow").unlink()
    finished = command("resume", "sweep", "--trust")
    assert (finished.code, finished.err) == (0, "")
    assert states() == ["COMPLETE"] * 3

    shutil.move("sweep", "other")
    assert command(*words).code == 0
    assert list(summaries()) == list(summaries(Path("other")))
    for name in summaries():
        ours, others = (read_metrics(folder / name / "metrics.csv") for folder in (SWEEP, Path("other")))
        assert [(record.epoch, record.val_loss) for record in ours] == [
            (record.epoch, record.val_loss) for record in others
        ]


def test_editing_the_configurations_changes_nothing_in_trials_to_come(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "defaults: [adam]\nlr: 0.005\nweight_decay: ${oc.decode:${oc.env:DECAY,0}}\n"
    write(Path("own/optimizer/mine.yaml"), own)
    words = [*OPTIONS, "optimizer=mine", "hydra.sweep.dir=sweep", "trainer.epochs=1"]
    size = "trainer.batch_size=int(interval(100,200))"
    assert command("tune", "--config-dir", "own", *words, size, "--trials", "1").code == 0
    shutil.rmtree("own")
    resume = ["resume", "sweep", "--trials", "2"]
    with monkeypatch.context() as patch:
        patch.setenv("DECAY", "0.1")
        done = command(*resume)
        assert (done.code, done.err) == (
            2,
            "error: optimizer: has other values now than when the search began, from the same YAML;\n"
            "set the environment variables as they were, or start a new search\n",
        )
    done = command(*resume)
    assert (done.code, done.err) == (0, "")
    assert [summary.config["optimizer"]["lr"] for summary in summaries().values()] == [0.005, 0.005]
    folder = Path("own").absolute()
    assert done.out.splitlines()[-1].startswith(f"digitnet --config-dir {folder} data=digits ")
    shutil.rmtree("sweep/.conf")
    done = command(*resume)
    gone = f"{SWEEP.absolute()}/.conf: its config.yaml is gone; bring the folder back, or start a new search"
    assert (done.code, done.err) == (2, f"error: {gone}\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that had one trial."""
    folder = tmp_path_factory.mktemp("search")
    words = [*OPTIONS, LR, "trainer.epochs=1", "hydra.sweep.dir=sweep", "--trials", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["tune", *words]) == 0
    return folder / "sweep"


def test_a_trial_that_was_proposed_and_not_written_down_is_not_lost(command: Command, finished: Path) -> None:
    shutil.copytree(finished, SWEEP)
    here = Path.cwd()
    search.open_study(manifest.read_manifest(SWEEP)).ask()
    assert states() == ["COMPLETE", "RUNNING"]
    write(SWEEP / "optuna.log", (SWEEP / "optuna.log").read_bytes() + b'{"op_co')  # and then the disk was full
    done = command("resume", "sweep", "--trials", "2")
    assert (done.code, done.err) == (0, "")
    os.chdir(here)
    assert [name.partition(",")[0] for name in summaries()] == ["0", "1"]
    assert states() == ["COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"digits\n" * 2, "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (b'{"op_code": 4}\n', "KeyError: *"),
        (b"\x00\xff\n" * 3, "*"),
        (None, "ValueError: 0,lr=* is not in it"),
    ],
)
def test_a_damaged_journal_is_named(command: Command, finished: Path, content: bytes | None, why: str) -> None:
    shutil.copytree(finished, SWEEP)
    path = SWEEP.absolute() / "optuna.log"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = command("resume", "sweep", "--trials", "2")
    assert done.code == 1
    message = f"error: {path}: not the journal of this search ({why});\nbring it back, or start a new search\n"
    assert fnmatch(done.err, message)
    assert done.err.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "digitnet tune: nothing to search; give several values, 'optimizer.lr=interval(0.01,1)'"),
        ([LR, "--trials", "0"], "--trials 0: at least 1"),
        ([LR, "--trials", "many"], "argument --trials: invalid int value: 'many'; see digitnet tune --help"),
        (["optimizer.lr=interval(1,0.1)"], "optimizer.lr=interval(1,0.1): an interval goes up"),
        (["optimizer.lr=interval(0.1,inf)"], "optimizer.lr=interval(0.1,inf): an interval goes up"),
        (
            ["optimizer.lr=tag(log,interval(0,1))"],
            "optimizer.lr=tag(log,interval(0,1)): an interval goes up, from above 0",
        ),
        (["optimizer.lr=tag(lg,interval(1,2))"], "optimizer.lr=tag(lg,interval(1,2)): no tag 'lg'; there is log"),
        (["seed=range(3,1)"], "seed=range(3,1): there is no value in it"),
        # at one end, or one of the choices
        (["optimizer.lr=interval(-1,0.1)"], "optimizer.lr=-1.0: should be greater than 0"),
        (
            ["trainer.batch_size=int(interval(0,64))"],
            "trainer.batch_size=0: should be greater than or equal to 1",
        ),
        (
            ["trainer.batch_size=interval(16,64)"],
            "trainer.batch_size=interval(16,64): is a whole number; trainer.batch_size=int(interval(16,64))",
        ),
        (["optimizer=sgd,sdg"], "optimizer=sdg: no such option … did you mean 'sgd'? There are *"),
        (["optimizer.lrr=1,2"], "no key 'optimizer.lrr' … did you mean 'optimizer.lr'?"),
        (
            [LR, "hydra/launcher=ray"],
            "hydra.launcher.jobs: has no value; say how many trials run at a time",
        ),
    ],
)
def test_a_mistake_is_answered_before_the_first_trial(command: Command, words: list[str], answer: str) -> None:
    done = command("tune", *OPTIONS, "hydra.sweep.dir=sweep", *words)
    assert (done.code, done.out) == (2, "")
    assert fnmatch(done.err, f"error: {answer.replace('[', '[[]')}\n")
    assert done.err.count("\n") == 1
    assert not SWEEP.exists()


def test_a_preset_says_what_is_searched(command: Command) -> None:
    preset = "# @package _global_\nhydra: {sweeper: {params: {optimizer.lr: 'interval(0.01,0.1)', seed: '%s'}}}\n"
    words = ["tune", *OPTIONS, "hydra.sweep.dir=sweep", "trainer.epochs=1", "sweep=mine", "--trials", "1"]
    write(Path("conf/sweep/mine.yaml"), preset % "range(3,1)")
    done = command(*words)
    assert (done.code, done.err) == (2, "error: seed=range(3,1): there is no value in it\n")
    write(Path("conf/sweep/mine.yaml"), preset % "3")
    done = command(*words)
    assert (done.code, done.err) == (0, "")
    ((name, summary),) = summaries().items()
    assert name == f"0,lr={summary.config['optimizer']['lr']}"
    assert 0.01 <= summary.config["optimizer"]["lr"] <= 0.1
    assert summary.seed == 3


def test_a_search_by_the_test_set_is_warned_of(command: Command) -> None:
    done = command(*tune("Linear", "trainer.epochs=1", "data.validation=test", "--trials", "1"))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == (
        "warning: data.validation=test: the search chooses by the test set, where the best is then too good; "
        "hold out images: data.validation=10000"
    )


@pytest.mark.parametrize("words", [["tune", LR], ["resume", "sweep"]])
def test_without_optuna_the_extra_is_named(
    command: Command, finished: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    shutil.copytree(finished, SWEEP)
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = command(*words)
    assert done.code == 2
    assert done.err == "error: digitnet tune: Optuna is not installed; pip install 'digitnet[tune]'\n"


def test_stopped_before_its_first_trial_a_search_can_be_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Trials) -> list[str]:
        raise DigitnetError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "begin", stop)
        done = command("tune", *OPTIONS, LR, "trainer.epochs=1", "hydra.sweep.dir=sweep", "--trials", "1")
        assert (done.code, done.err) == (1, "error: stop\n")
    assert command("resume", "sweep").code == 0
    assert states() == ["COMPLETE"]


def test_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        cli._dispatch(["tune", LR])
    assert str(caught.value) == "digitnet tune is not for torchrun, which started 2 processes; start it without"


def test_a_resumed_search_too_must_know_how_many_run_at_a_time(command: Command, finished: Path) -> None:
    shutil.copytree(finished, SWEEP)
    done = command("resume", "sweep", "hydra/launcher=slurm")
    assert done.code == 2
    assert done.err == "error: hydra.launcher.jobs: has no value; say how many trials run at a time\n"


def test_trials_are_of_a_search_alone(command: Command, finished: Path) -> None:
    shutil.copytree(finished, SWEEP)
    (folder,) = summaries()
    done = command("resume", f"sweep/{folder}", "--trials", "2")
    assert (done.code, done.err) == (2, f"error: --trials: sweep/{folder} is no search; of a run: trainer.epochs=N\n")
    sweep = manifest.read_manifest(SWEEP)
    sweep.search = None
    sweep.write()
    done = command("resume", "sweep", "--trials", "2")
    assert (done.code, done.err) == (
        2,
        "error: --trials: sweep is no search; its jobs are as many as when it started\n",
    )


class Still:
    """A drive whose jobs do nothing: `said` of them is what their folders say, `stopped` those that were to end."""

    def __init__(self) -> None:
        self.pruned: set[str] = set()
        self.failures: dict[str, str] = {}
        self.said: dict[str, RunSummary] = {}
        self.stopped: list[str] = []
        self.lines: list[str] = []
        self.launcher = self.view = self

    def summary(self, name: str) -> RunSummary | None:
        return self.said.get(name)

    def stop(self, names: list[str]) -> None:
        self.stopped += names

    def line(self, text: str, _: str) -> None:
        self.lines.append(text)


def still_search(at_once: int, trials: int, refused: bool = False) -> tuple[Any, Trials, Sweep]:
    """A search here whose jobs do nothing, or do not compose."""
    launcher = LocalLauncherConfig(name="local", jobs=at_once, threads=1, gpus=1.0)
    space = {"optimizer.lr": Dimension(low=0.1, high=1.0)}
    sweep = Sweep(Path.cwd(), "", "", launcher, {}, Search(space, [], [], trials, True, [], "config"))

    def make(number: int, overrides: list[str]) -> Job:
        if refused:
            raise ConfigError("they do not fit")
        job = Job(f"{number},{','.join(overrides)}", overrides, "", {})
        sweep.jobs[job.name] = job
        return job

    still: Any = Still()
    return still, Trials(sweep, still, at_once, make), sweep


def test_as_many_are_proposed_as_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(_: object) -> bool:
        raise AssertionError("a lock that would stay behind")

    monkeypatch.setattr(JournalFileSymlinkLock, "acquire", acquire)
    _, trials, _ = still_search(at_once=3, trials=4)
    assert trials.begin() == []
    names = trials.more([])
    assert len(set(names)) == 3
    assert trials.more(names) == []
    (last,) = trials.more(names[:1])
    assert trials.more([last]) == []
    assert trials.done == "finished"


def test_proposals_that_are_all_refused_come_to_an_end() -> None:
    still, trials, _ = still_search(at_once=1, trials=2, refused=True)
    assert trials.more([]) == []
    assert still.lines == [f"{number}: not tried: they do not fit" for number in range(20)]


def said(name: str, accuracies: list[float], status: str, loss: float = 1.0) -> RunSummary:
    """What a job's folder says after epochs of these accuracies, of four."""
    config = load_config(["trainer.epochs=4"]).model_dump(mode="json")
    Path(name).mkdir(exist_ok=True)
    records = [EpochRecord(n, 0.1, 1.0, 0.5, loss, value, 1.0, 1.0) for n, value in enumerate(accuracies, start=1)]
    write_metrics(Path(name, "metrics.csv"), records)
    final = {"val_acc": accuracies[-1], "val_loss": loss}
    summary = RunSummary(status, "", 0, {}, epochs=len(records), final=final, config=config)
    write_summary(Path(name, "summary.json"), summary)
    return summary


def test_only_a_job_at_work_that_has_more_to_do_is_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STARTUP_TRIALS", 1)
    still, trials, _ = still_search(at_once=1, trials=3)
    (good,) = trials.more([])
    still.said[good] = said(good, [0.9, 0.9, 0.9, 0.9], "finished")
    (bad,) = trials.more([])
    still.said[bad] = said(bad, [0.1, 0.1, 0.1], "running")
    trials.more([bad])
    assert still.stopped == []  # nobody is at work there: it waits to be gone on with
    with locked(Path(bad)):
        still.said[bad] = said(bad, [0.1, 0.1, 0.1, 0.1], "running")
        trials.more([bad])
        assert still.stopped == []  # it is about to finish
    still.said[bad] = said(bad, [0.1, 0.1, 0.1, 0.1], "finished")
    (worse,) = trials.more([])
    with locked(Path(worse)):
        still.said[worse] = said(worse, [0.1, 0.1, 0.1], "running")
        trials.more([worse])
    assert still.stopped == [worse]
    still.said[worse] = said(worse, [0.1, 0.1, 0.1], "interrupted")
    still.failures[worse] = "Slurm job 1 is CANCELLED"
    trials.more([])
    assert still.failures == {}
    assert read_summary(Path(worse, "summary.json")).error == (
        "pruned after epoch 3: behind the median of the trials before"
    )


def test_epochs_are_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STARTUP_TRIALS", 1)
    still, trials, sweep = still_search(at_once=1, trials=1)
    (name,) = trials.more([])
    still.said[name] = said(name, [0.1, 0.2], "running")
    trials.more([name])
    trials = Trials(sweep, still, 1, lambda number, overrides: sweep.jobs[name])  # as the search is resumed
    assert trials.begin() == [name]
    still.said[name] = said(name, [0.1, 0.2, 0.3], "finished")
    assert trials.more([]) == []  # Optuna would warn
    (trial,) = search.open_study(sweep).trials
    assert (trial.value, trial.intermediate_values) == (0.3, {1: 0.1, 2: 0.2, 3: 0.3})


def test_where_there_are_few_combinations_all_are_tried() -> None:
    still, trials, sweep = still_search(at_once=1, trials=12)
    assert sweep.search is not None
    sweep.search.space = {key: Dimension(choices=list("abcd"[:size])) for key, size in (("model", 4), ("aug", 3))}
    found = trials.more([])
    while found:
        still.said[found[0]] = said(found[0], [0.9 if "model=a" in found[0] else 0.1], "finished")
        found = trials.more([])
    assert len(sweep.jobs) == 12


def test_of_finished_trials_with_equal_accuracies_that_with_the_lower_loss_is_best() -> None:
    _, trials, sweep = still_search(at_once=4, trials=4)
    *names, interrupted = trials.more([])
    for name, loss in zip(names, (0.3, 0.1, 0.2), strict=True):
        said(name, [0.9], "finished", loss)
    said(interrupted, [0.95], "interrupted")
    assert search.best(sweep) == (sweep.jobs[names[1]], 0.9)


@pytest.mark.parametrize(("value", "written"), [(0.123456, "0.1235"), (0.99996, "0.9999"), (0.100001, "0.10002")])
def test_a_rounded_value_stays_in_its_interval(value: float, written: str) -> None:
    low, high = (0.10002, 0.9999)
    trial = optuna.trial.FixedTrial({"momentum": min(max(value, low), high)})
    assert search._suggest(trial, "momentum", Dimension(low=low, high=high)) == written
