"""The debug group: what each option does to a run, what it prints, and that its figures are no results."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import TINY, Command, Trained, run_folder, summary_in, write
from digitnet.config.compose import load_config
from digitnet.data import load_digits
from digitnet.errors import DivergedError
from digitnet.experiment.debugging import debugged_data, finding_nan
from digitnet.runs.formats import read_metrics
from digitnet.runs.reader import find_runs
from digitnet.training.state import TrainState

DIGITS = ["data=digits", "data.enlarge_to=1437", "device=cpu"]


def test_fast_run_has_two_epochs_of_twenty_batches_and_all_files(command: Command) -> None:
    done = command(*DIGITS, "debug=fast", "aug=distort", "trainer.batch_size=8", "trainer.epochs=30")
    assert (done.code, done.err) == (0, "")
    assert "160 training and 160 test images" in done.out
    assert "warning: debug=fast: the figures of this run are no results; compare lists it as debug\n" in done.out
    folder = run_folder()
    summary = summary_in(folder)
    assert (summary["epochs"], summary["steps"], summary["config"]["debug"]["name"]) == (2, 40, "fast")
    assert (folder / "distorted.png").exists()
    assert (folder / "misclassified.png").exists()
    assert [run.status for run in find_runs(["outputs"])] == ["debug"]


def test_few_data_are_of_all_classes_whatever_their_order() -> None:
    digits = load_digits(1437)
    order = digits.train.labels.argsort()
    config = load_config([*DIGITS, "debug=fast", "debug.batches=2", "trainer.batch_size=10"])
    few = debugged_data(type(digits)(**{**vars(digits), "train": digits.train[order]}), config)
    assert (len(few.train), len(few.test), few.validates_on_test) == (20, 20, True)
    assert len(few.train.labels.unique()) == 10


def test_overfitted_batch_is_learned_and_ends_the_run(command: Command) -> None:
    options = ["debug=overfit", "model=fastnet", "optimizer=adam", "optimizer.lr=0.01", "aug=distort"]
    done = command(*DIGITS, *options)
    assert (done.code, done.err) == (0, "")
    assert "debug=overfit: the batch of 32 images is learned after 50 steps: the network is able to learn\n" in done.out
    (folder,) = Path("outputs").glob("*/*")
    assert [record.lr for record in read_metrics(folder / "metrics.csv")] == [0.01]
    assert summary_in(folder)["test"]["n"] == 32
    assert "test accuracy 100.00 % (0 errors of 32; 95 %: 89.28 to 100.00); debug=overfit: no result\n" in done.out
    assert command("resume", str(folder)).out == f"{folder}: finished\n"


def test_batch_that_is_not_learned_is_a_warning_with_what_to_try(command: Command) -> None:
    done = command(*DIGITS, "debug=overfit", "debug.epochs=2", "optimizer.lr=1e-9")
    assert done.code == 0
    assert re.search(
        r"warning: debug=overfit: \d+\.\d\d % of the batch of 32 images are right after 100 steps; try another "
        r"optimizer\.lr or optimizer=adam, or look for a fault in the network\n",
        done.out,
    )


def test_profiled_run_has_a_table_and_a_trace(command: Command) -> None:
    done = command(*DIGITS, "debug=profile", "debug.batches=3")
    assert (done.code, done.err) == (0, "")
    assert "aten::addmm" in done.out
    assert "Self CPU time total" in done.out
    assert summary_in(run_folder())["steps"] == 3
    trace = json.loads((run_folder() / "trace.json").read_text())
    assert any(event.get("name") == "aten::addmm" for event in trace["traceEvents"])


def test_first_output_that_is_not_finite_is_named(command: Command) -> None:
    done = command(*DIGITS, "debug=nan", "optimizer.lr=1e20")
    assert done.code == 1
    assert re.fullmatch(
        r"error: epoch 1, step 2 of the run: the output of layers\.\d+ \(\w+\) has [\d,]+ values? of [\d,]+ that "
        r"are not finite, the first (-?inf|nan)\n",
        done.err,
    )


def test_first_gradient_that_is_not_a_number_is_named() -> None:
    class Root(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return (values * 0).sqrt() * values  # finite, but its gradient is 0 / 0

    model = nn.Sequential(nn.Linear(3, 3), Root())
    state = TrainState(model, torch.optim.SGD(model.parameters()), torch.Generator())
    with (
        pytest.raises(DivergedError, match=r"epoch 1, step 1 of the run: the gradient at 1 \(Root\) is not a number"),
        finding_nan(state, is_on=True),
    ):
        model(torch.ones(2, 3)).sum().backward()
    assert not any(layer._forward_hooks or layer._backward_pre_hooks for layer in model)
    assert not torch.is_anomaly_enabled()


def test_run_with_debug_nan_has_the_figures_of_a_run_without(command: Command) -> None:
    assert command(*TINY, "hydra.run.dir=plain").code == 0
    assert (
        "debug=nan: every output and every gradient was finite, in 90 steps\n"
        in command(*TINY, "debug=nan", "hydra.run.dir=watched").out
    )
    plain, watched = (read_metrics(Path(name, "metrics.csv")) for name in ("plain", "watched"))
    assert [record.val_loss for record in plain] == [record.val_loss for record in watched]
    assert {run.status for run in find_runs(["plain", "watched"])} == {"finished"}


def test_sweep_of_debugged_runs_succeeds_and_has_no_means(command: Command) -> None:
    done = command("-m", *DIGITS, "debug=fast", "debug.batches=2", "logger=metrics", "seed=0,1", "hydra.sweep.dir=s")
    assert (done.code, done.err) == (0, "")
    assert {run.status for run in find_runs(["s"])} == {"debug"}
    table = command("compare", "s", "--group-by", "model", "--format", "json")
    assert [row["n"] for row in json.loads(table.out)] == [0]


def test_debug_run_does_not_widen_the_table_of_the_others(trained: Trained, command: Command) -> None:
    trained()
    table = command("compare", ".").out
    trained("debug=fast", "debug.batches=2", to="debugged")
    assert "batches" not in command("compare", ".").out
    assert "debug" in command("compare", ".").out
    assert "debug" not in table


def test_option_nan_is_a_name_in_presets_too(command: Command) -> None:
    write(Path("conf/experiment/x.yaml"), "# @package _global_\n# x\ndefaults:\n  - override /debug: nan\n")
    assert load_config(["experiment=x"]).debug.name == load_config(["debug=nan"]).debug.name == "nan"
