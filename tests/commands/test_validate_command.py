"""`digitnet validate`: what it composes, what it finds, how it says it."""

from pathlib import Path

import pytest

from conftest import Command, write

pytestmark = pytest.mark.slow

GLOBAL = "# @package _global_\n"
CLEAN = "configurations, no fault\n"


def test_packaged_configurations_have_no_fault(command: Command) -> None:
    done = command("validate")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(CLEAN)
    assert int(done.out.split()[0]) > 20


def test_all_faults_are_reported_with_file_and_line(command: Command) -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\nlr: fast\nmomentun: 0.9\n")
    write(Path("conf/aug/y.yaml"), "defaults: [distort]\nrotation_deg: 400\n")
    write(Path("conf/experiment/z.yaml"), GLOBAL + "defaults:\n  - override /model: lenet6\n")
    write(Path("conf/mine.yaml"), "defaults: [config, _self_]\ntrainer:\n  epochs: 0\n")
    write(Path("conf/optimiser/x.yaml"), "lr: 1\n")
    write(Path("conf/model/broken.yaml"), "a: [\n")
    write(Path("conf/model/net.yml"), "a: 1\n")
    done = command("validate", "--schema-only")
    lines = done.out.splitlines()
    assert lines == [
        "conf/aug/y.yaml:2: aug.rotation_deg=400: should be less than or equal to 180 [aug=y]",
        "conf/experiment/z.yaml:3: defaults: model=lenet6: no such option … did you mean 'lenet5'? There are allconv, "
        "broken, custom, fastnet, lenet5, lenet5_1998, lenet5_no_dropout [experiment=z]",
        "conf/mine.yaml:3: trainer.epochs=0: should be greater than or equal to 1 [--config-name mine]",
        "conf/model/broken.yaml:2: the file is not YAML: expected the node content, but found '<stream end>' "
        "[model=broken]",
        "conf/optimizer/x.yaml:3: no key 'optimizer.momentun' … did you mean 'optimizer.momentum'? [optimizer=x]",
        "conf/optimizer/x.yaml:2: optimizer.lr=fast: should be a valid number [optimizer=x]",
        "conf/model/net.yml: is ignored: the suffix must be .yaml",
        "conf/optimiser/x.yaml: no group 'optimiser' … did you mean 'optimizer'?",
    ]
    assert done.code == 2
    assert done.err.startswith("error: 8 faults in ")


def test_overrides_are_one_composition(command: Command) -> None:
    assert command("validate", "model=lenet5", "aug=distort").out == "1 configuration, no fault\n"
    done = command("validate", "model=lenet5", "aug=distort", "aug.shift=2", "optimizer.lr=-1")
    assert done.code == 2
    assert [line.partition(":")[0] for line in done.out.splitlines()] == ["aug.shift=2", "optimizer.lr=-1"]
    assert done.err == "error: 2 faults in 1 configuration\n"


def test_warnings_do_not_fail(command: Command) -> None:
    done = command("validate", "--schema-only", "trainer.epochs=30")
    assert done.code == 0
    assert done.out == (
        "warning: trainer.epochs=30: the schedule's last factor, 0.08, stays after epoch 20 "
        "[trainer.epochs=30]\n1 configuration, no fault\n"
    )


def test_wrong_arguments_are_refused(command: Command) -> None:
    wrong = command("validate", "--format", "xml").err  # how the choices are quoted depends on Python's version
    assert wrong.startswith("error: argument --format: invalid choice: 'xml' (choose from ")
    assert wrong.endswith("; see digitnet validate --help\n")
    assert command("validate", "--config-dir", "nowhere").err == "error: --config-dir nowhere: no such folder\n"
    assert command("valdiate").err.endswith("did you mean 'validate' or 'evaluate'?\n")
    assert command("validate", "--help").out.startswith(
        "usage: digitnet validate [-h] [--format {text,json,github,sarif,junit}]"
    )
