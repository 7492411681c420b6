"""The command line in this process: what a user gets wrong is answered in four lines, and nothing else is changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import TINY, Command, run_folder


def test_help_and_config_do_not_import_torch() -> None:
    for flags in (["--help"], ["--cfg", "job"], ["modle=lenet5"]):
        code = f"import sys; from digitnet.cli import main; main({flags}); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_narrow_terminal_does_not_break_paths(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "25")  # narrower than the path
    done = command(*TINY, "trainer.epochs=1")
    assert str(run_folder()) in done.out


def test_paths_are_printed_without_markup(command: Command) -> None:
    assert "/x:key:[red]y" in command("data=folder", "data.root='/x:key:[red]y'").err


MISTAKES = [
    ("model=lenet6", 2, "model=lenet6: no such option … did you mean 'lenet5'?"),
    ("modle=lenet5", 2, "no key 'modle' … did you mean 'model'?"),
    ("experiment=lenet", 2, "experiment=lenet: no such option … did you mean 'lenet5'"),
    ("device=tpu", 2, "device=tpu: no such option … did you mean 'cpu'? There are auto, cpu, cuda, mps"),
    ("model=3", 2, "model=3: not the name of an option; see digitnet --help"),
    ("model=lenet5,allconv", 2, "model=lenet5,allconv: several values; to run them all, add -m"),
    ("+model=allconv", 2, "model is chosen already; leave out the '+': model=OPTION"),
    ("optimizer.lrr=1", 2, "no key 'optimizer.lrr' … did you mean 'optimizer.lr'?"),
    ("+optimizer.momentun=1", 2, "no key 'optimizer.momentun' … did you mean 'optimizer.momentum'?"),
    ("lr=1", 2, "no key 'lr' … did you mean 'optimizer.lr'?"),
    ("epochs=3", 2, "no key 'epochs' … did you mean 'trainer.epochs'?"),
    ("aug.rotation_deg=3", 2, "no key 'aug.rotation_deg'; it belongs to aug=distort"),
    ("optimizer.betas=[0.9,0.9]", 2, "no key 'optimizer.betas'; it belongs to optimizer=adam and optimizer=adamw"),
    ("data=folder data.root=x model=3", 2, "model=3: not the name of an option"),
    (
        "schedule.phases=[{epoch:&1,factor:&1}]",
        2,
        "no key 'schedule.phases.0.epoch' … did you mean 'schedule.phases.0.epochs'?",
    ),
    ("trainer.threads=1 hydra.run.dir=k=v", 2, "hydra.run.dir=k=v: cannot be read (mismatched input '='"),
    ("=3", 2, "'=3' has no key; it is KEY=VALUE"),
    ("foo=3", 2, "no key 'foo'; there are aug, checkpoint, data, debug, device"),
    ("~sede", 2, "no key 'sede' to delete … did you mean 'seed'"),
    ("~model.dropout", 2, "model.dropout: has no value; set model.dropout=VALUE"),
    ("data=folder", 2, "data.root: has no value; set data.root=VALUE"),
    ("aug=distort aug.rotation_deg=fifteen", 2, "aug.rotation_deg=fifteen: should be a valid number"),
    ("aug=distort aug.rotation_deg=400", 2, "aug.rotation_deg=400: should be less than or equal to 180"),
    ("trainer.batch_size=0", 2, "trainer.batch_size=0: should be greater than or equal to 1"),
    ("trainer.epochs=true", 2, "trainer.epochs=true: should be a valid integer"),
    ("trainer.precision=fp64", 2, "trainer.precision=fp64: should be 'fp32' or 'bf16'"),
    ("trainer=3", 2, "trainer=3: is a group of keys; set trainer.KEY=VALUE"),
    ("optimizer.lr=-1", 2, "optimizer.lr=-1: should be greater than 0"),
    ("optimizer.lr=1e39", 2, "optimizer.lr=1e+39: should be less than or equal to 1000"),
    ("trainer.batch_size=10000000000000000000", 2, "trainer.batch_size=10000000000000000000: should be"),
    ("data.root='~nobody/x' data=folder", 1, "data.root=~nobody/x: no such folder"),
    ("optimizer.lr=nan", 2, "optimizer.lr=nan: should be a finite number"),
    ("optimizer.nesterov=true", 2, "optimizer.nesterov=true needs a momentum; set optimizer.momentum=0.9"),
    ("optimizer.name=adam", 2, "optimizer.name=adam: the option is chosen with optimizer=adam"),
    ("trainer.threads=5000", 2, "trainer.threads=5000: should be less than or equal to 1024"),
    ("data=digits trainer.threads=1000", 2, "trainer.threads=1000: this machine has "),
    ("seed=1.5", 2, "seed=1.5: should be a valid integer"),
    ("data.validation=0", 2, "data.validation=0: should be 'test' or greater than or equal to 1"),
    ("schedule.phases=[]", 2, "schedule.phases=[]: list should have at least 1 item"),
    ("model.dropout=${sed}", 2, "model.dropout: no key 'sed' … did you mean 'seed'?"),
    ("data=mnist data.root=~/a,b", 2, "data.root=~/a,b: cannot be read"),
    ("data=/data/mnist", 2, "data=/data/mnist: no such option"),
    ("experiments=lenet5", 2, "no key 'experiments' … did you mean 'experiment'?"),
    ("schedule.epochs=5", 2, "no key 'schedule.epochs'; it belongs to schedule=constant and schedule=cosine"),
    ("model=custom model.kwargs.width=3", 2, "no key 'model.kwargs.width'; to add it, write +model.kwargs.width=VALUE"),
    ("trainer.epochs=[", 2, "trainer.epochs=[: cannot be read"),
    ("model", 2, "'model' is neither a command nor of the form KEY=VALUE; see digitnet --help"),
    (
        "model = lenet5",
        2,
        "'model' is neither a command nor of the form KEY=VALUE; write it without blanks: model=VALUE",
    ),
    ("--colour", 2, "unrecognized arguments: --colour; values are set without dashes, KEY=VALUE; see digitnet --help"),
    ("--config-dir nowhere", 2, "--config-dir nowhere: no such folder"),
    ("hydra/launcher=slrum", 2, "hydra/launcher=slrum: no such option"),
    (
        "hydra.run.dir=/proc/nowhere",
        1,
        "cannot make the run's folder (/proc/nowhere: No such file or directory); set hydra.run.dir",
    ),
    ("data=mnist", 1, "data=mnist: "),
    (
        "data.validation=5000",
        1,
        "data.validation=5000: the training set has only 1437 images; hold out fewer\nthese are",
    ),
    ("data=folder data.root=nowhere", 1, "data.root=nowhere: no such folder"),
    ("data=digits data.enlarge_to=5", 2, "data.enlarge_to=5: the embedded training set has 1437 images already"),
    (
        "data=digits optimizer.lr=1e30 schedule.phases=[{epochs:1,factor:1e30}]",
        2,
        "optimizer.lr=1e+30 times the schedule's factor 1e+30: 1e+60 is more than a float32 can be; lower it",
    ),
    ("data=digits data.validation=1437", 2, "data.validation=1437: the training set has only 1437 images"),
    (
        "data=digits init_from=nowhere",
        1,
        "init_from=nowhere: no checkpoint there; give the folder of a run or a checkpoint",
    ),
    (
        "data=digits model=custom model.target=torch.nn:LazyConv2d"
        " +model.kwargs.out_channels=3 +model.kwargs.kernel_size=3",
        2,
        "model: its output has shape (2, 3, 26, 26), not (B, classes) = (2, 10); fix its last layer",
    ),
    ("data=digits model=custom model.target=torch.nn:Flatten", 2, "model.target=torch.nn:Flatten: has no parameters"),
    ("data=digits model=custom model.target=nowhere:Net", 2, "model.target=nowhere:Net: cannot build it from {}"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistake_is_explained_in_four_lines(command: Command, arguments: str, code: int, message: str) -> None:
    done = command(*(argument.replace("&", " ") for argument in arguments.split()))
    assert done.code == code
    assert done.err.startswith(f"error: {message}"), done.err
    assert len(done.err.splitlines()) <= 4
    assert "Traceback" not in done.err
    for summary in Path("outputs").rglob("summary.json"):
        assert json.loads(summary.read_text())["status"] == "failed"
    if code == 2 and "data=digits" not in arguments:
        assert not Path("outputs").exists()  # found before a folder was made


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_an_error(command: Command) -> None:
    done = command("device=cuda", "data=digits")
    assert done.code == 2
    assert done.err == (
        "error: device=cuda: this machine has none that PyTorch can use; set device=cpu or device=auto\n"
    )


def test_several_mistakes_are_listed_in_four_lines(command: Command) -> None:
    done = command("seed=-1", "optimizer.lr=0", "trainer.epochs=0", "trainer.threads=0", "trainer.batch_size=x")
    lines = done.err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("error: optimizer.lr=0: should be greater than 0")
    assert lines[3] == "and 2 more"


@pytest.mark.parametrize("wanted", [None, "0"])
def test_environment_is_unchanged(command: Command, monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> None:
    if wanted is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", wanted)
    before, program = dict(os.environ), list(sys.argv)
    command("--cfg", "job")
    assert dict(os.environ) == before
    assert sys.argv == program
