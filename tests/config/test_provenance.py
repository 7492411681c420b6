from pathlib import Path

from conftest import CHECKOUT, write
from digitnet.config.files import Tree
from digitnet.config.hydra_adapter import composing
from digitnet.config.provenance import located
from digitnet.errors import ConfigError, Fault


def place(key: str, overrides: list[str], *also: str) -> str:
    tree = Tree.at()
    with composing(tree):
        (fault,) = located(ConfigError(Fault("wrong", key, also=also)), tree, overrides).faults
    return f"{fault.file.relative_to(Path.cwd())}:{fault.line}" if fault.file else ""


def test_fault_is_in_the_file_that_sets_the_key() -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\n\nlr: 3\n")
    assert place("optimizer.lr", ["optimizer=x"]) == "conf/optimizer/x.yaml:3"


def test_fault_is_in_the_preset_that_takes_precedence() -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\nlr: 3\n")
    write(Path("conf/experiment/y.yaml"), "# @package _global_\noptimizer:\n  lr: 4\n")
    assert place("optimizer.lr", ["optimizer=x", "experiment=y"]) == "conf/experiment/y.yaml:3"


def test_fault_of_a_missing_key_is_in_its_group() -> None:
    write(Path("conf/experiment/y.yaml"), "# @package _global_\ntrainer:\n  epochs: 4\n")
    assert place("trainer.epoch", ["experiment=y"]) == "conf/experiment/y.yaml:2"


def test_fault_of_the_command_line_has_no_place() -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\nlr: 3\n")
    assert place("optimizer.lr", ["optimizer=x", "optimizer.lr=4"]) == ""
    assert place("schedule.phases.0.epochs", ["schedule.phases=[]"]) == ""


def test_file_of_the_user_is_named_rather_than_a_packaged_one() -> None:
    write(Path("conf/experiment/y.yaml"), "# @package _global_\ntrainer:\n  epochs: 4\n")
    assert place("aug.warmup_epochs", ["experiment=y", "aug=distort"], "trainer.epochs") == "conf/experiment/y.yaml:3"


def test_packaged_file_is_named_where_it_sets_the_key() -> None:
    tree = Tree.at()
    with composing(tree):
        (fault,) = located(ConfigError(Fault("wrong", "optimizer.lr")), tree, []).faults
    assert fault.file == CHECKOUT / "conf" / "optimizer" / "sgd.yaml"
