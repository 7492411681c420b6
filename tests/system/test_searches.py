"""`digitnet tune` with trials that train."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from conftest import Command, write
from digitnet.config.compose import load_config
from digitnet.errors import DigitnetError
from digitnet.sweep import manifest, search
from digitnet.sweep.search import Trials
from searching import LR, OPTIONS, UNTRUSTED, accuracy, states, summaries, tune, write_finished_search
from sweeping import SWEEP


def test_search_tries_values_of_the_space_and_prints_the_best(command: Command) -> None:
    size = "trainer.batch_size=int(tag(log,interval(100,1000)))"
    space = [LR, "optimizer=adam,sgd", size]
    done = command("tune", *OPTIONS, *space, "hydra.sweep.dir=sweep", "trainer.epochs=1", "--trials", "2")
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
    start = "search: 2 trials, model lenet5, data digits; sweep\n"
    assert again.out.startswith(f"{start}finished; for more: digitnet resume sweep --trials N\n\nsweep:\n")
    assert again.out.partition("\n\n")[2] == done.out.partition("\n\n")[2]


def test_trial_that_falls_behind_is_pruned_and_not_resumed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_resumed_search_tries_failed_trials_again(command: Command) -> None:
    Path("broken").touch()
    done = command(*tune("Broken", "trainer.epochs=1", "optimizer.lr=0.001,0.002", "trainer.threads=null"))
    assert (done.code, done.err) == (1, "error: 2 jobs of 2 failed; to try again: digitnet resume sweep --trust\n")
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
    assert done.out.startswith("search: 20 trials, model custom, data digits; sweep\nall combinations were tried\n")


def test_diverged_trial_is_neither_a_failure_nor_the_best(command: Command) -> None:
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
    more = command("resume", "sweep", "--trials", "3")  # only new trials would import the network
    assert (more.code, more.err) == (2, UNTRUSTED.format("Diverging"))


def test_each_valid_combination_is_tried_once(command: Command) -> None:
    pairs = ["optimizer=sgd", "optimizer.momentum=0,0.9", "optimizer.nesterov=false,true"]
    done = command(*tune("Linear", "trainer.epochs=1", "optimizer.lr=0.1", *pairs))
    assert (done.code, done.err) == (0, "")
    tried = sorted(name.partition(",")[2] for name in summaries())
    assert tried == ["momentum=0,nesterov=False", "momentum=0.9,nesterov=False", "momentum=0.9,nesterov=True"]
    refused = re.findall(r"^\d+: not tried: (.*)", done.out, flags=re.MULTILINE)
    assert refused in ([], ["optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9"])


def test_resumed_search_composes_from_its_copy_of_the_yaml_files(
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
            "set environment variables to their values at that time, or start a new search\n",
        )
    done = command(*resume)
    assert (done.code, done.err) == (0, "")
    assert [summary.config["optimizer"]["lr"] for summary in summaries().values()] == [0.005, 0.005]
    folder = Path("own").absolute()
    assert done.out.splitlines()[-1].startswith(f"digitnet --config-dir {folder} data=digits ")


def test_trial_proposed_just_before_a_kill_is_run_on_resume(command: Command) -> None:
    write_finished_search()
    here = Path.cwd()
    search.open_study(manifest.read_manifest(SWEEP)).ask()
    assert states() == ["COMPLETE", "RUNNING"]
    write(SWEEP / "optuna.log", (SWEEP / "optuna.log").read_bytes() + b'{"op_co')  # and then the disk was full
    done = command("resume", "sweep", "--trials", "2")
    assert (done.code, done.err) == (0, "")
    os.chdir(here)
    assert [name.partition(",")[0] for name in summaries()] == ["0", "1"]
    assert states() == ["COMPLETE", "COMPLETE"]


def test_preset_sets_the_search_space(command: Command) -> None:
    preset = "# @package _global_\nhydra: {sweeper: {params: {optimizer.lr: 'interval(0.01,0.1)', seed: '%s'}}}\n"
    words = ["tune", *OPTIONS, "hydra.sweep.dir=sweep", "trainer.epochs=1", "sweep=mine", "--trials", "1"]
    write(Path("conf/sweep/mine.yaml"), preset % "range(3,1)")
    done = command(*words)
    assert (done.code, done.err) == (2, "error: seed=range(3,1): has no values\n")
    write(Path("conf/sweep/mine.yaml"), preset % "3")
    done = command(*words)
    assert (done.code, done.err) == (0, "")
    ((name, summary),) = summaries().items()
    assert name == f"0,lr={summary.config['optimizer']['lr']}"
    assert 0.01 <= summary.config["optimizer"]["lr"] <= 0.1
    assert summary.seed == 3


def test_search_by_the_test_set_prints_a_warning(command: Command) -> None:
    words = tune("Linear", "trainer.epochs=1", "data.validation=test", "--trials", "1")
    done = command(*words)
    assert (done.code, done.err) == (0, "")
    warning = "warning: data.validation=test: the search selects by the test set, so its test accuracy is biased; "
    first = done.out.splitlines()[0]
    assert first.startswith(f"{warning}hold out images: ")
    advice = first.rpartition("hold out images: ")[2]
    followed = command(*[advice if word == "data.validation=test" else word for word in words], "hydra.sweep.dir=other")
    assert (followed.code, followed.err) == (0, "")
    assert "warning" not in followed.out


def test_search_stopped_before_its_first_trial_can_be_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Trials) -> list[str]:
        raise DigitnetError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "unfinished_jobs", stop)
        done = command("tune", *OPTIONS, LR, "trainer.epochs=1", "hydra.sweep.dir=sweep", "--trials", "1")
        assert (done.code, done.err) == (1, "error: stop\n")
    assert command("resume", "sweep").code == 0
    assert states() == ["COMPLETE"]
