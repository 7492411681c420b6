from pathlib import Path

import pytest

from conftest import write
from digitnet.config.describe import CONFIG_TOPICS, default_options, describe, option_rows, root_rows
from digitnet.config.files import Tree
from digitnet.config.schema import GROUPS, LAUNCHER, PRESETS
from digitnet.errors import ConfigError


@pytest.mark.parametrize("topic", CONFIG_TOPICS)
def test_every_topic_is_described(topic: str) -> None:
    described = list(describe(topic, Tree.packaged()))
    assert described
    assert all(heading or rows for heading, rows in described)


@pytest.mark.parametrize("group", [group for group in (*GROUPS, LAUNCHER) if group not in PRESETS])
def test_every_key_of_every_option_is_explained(group: str) -> None:
    tree = Tree.packaged()
    for option in tree.options(group):
        assert [row for row, text in option_rows(group, option, tree).items() if not text] == []


def test_key_is_described_for_each_option_that_has_it() -> None:
    found = list(describe("optimizer.momentum", Tree.packaged()))
    assert [(heading.partition(":")[0], list(rows)) for heading, rows in found] == [
        ("optimizer=rmsprop", ["optimizer.momentum=0"]),
        ("optimizer=sgd", ["optimizer.momentum=0"]),
        ("optimizer=sgd_momentum", ["optimizer.momentum=0.9"]),
    ]
    assert [list(rows) for _, rows in describe("batch_size", Tree.packaged())] == [["trainer.batch_size=32"]]
    assert [list(rows) for _, rows in describe("trainer.epochs", Tree.packaged())] == [["trainer.epochs=null"]]
    assert list(describe("model.lr", Tree.packaged())) == []


def test_name_of_an_option_is_enough() -> None:
    headings = [heading.partition(":")[0] for heading, _ in describe("allconv", Tree.packaged())]
    assert headings == ["model=allconv", "experiment=allconv"]
    ((heading, rows),) = describe("step12", Tree.packaged())
    assert heading == "schedule=step12: Twelve epochs in three phases."
    assert "{epochs: 6, factor: 1}" in next(iter(rows))


def test_section_and_plain_keys_are_those_of_the_root() -> None:
    ((heading, rows),) = describe("trainer", Tree.packaged())
    assert heading == ""
    assert rows["trainer.precision=fp32"] == "fp32, or bf16 in matrix products and convolutions; one of bf16, fp32"
    assert {row.partition(".")[0] for row in rows} == {"trainer"}
    ((_, rows),) = describe("seed", Tree.packaged())
    assert list(rows) == ["seed=0"]


def test_option_has_its_own_keys() -> None:
    ((heading, rows),) = describe("optimizer=adamw", Tree.packaged())
    assert heading.startswith("optimizer=adamw: ")
    assert "optimizer.betas=[0.9, 0.999]" in rows
    assert option_rows("experiment", "allconv", Tree.packaged())["optimizer=rmsprop"] == ""
    with pytest.raises(ConfigError, match="optimizer=adamm: no such option … did you mean"):
        list(describe("optimizer=adamm", Tree.packaged()))


def test_preset_shows_what_its_presets_set() -> None:
    rows = option_rows("experiment", "lenet5_distort", Tree.packaged())
    assert {"model=lenet5", "aug=distort", "optimizer=rmsprop", "data.validation=test"} <= set(rows)
    assert "aug=none" not in rows
    write(Path("conf/experiment/circle.yaml"), "# @package _global_\ndefaults: [circle, missing]\nseed: 1\n")
    assert list(option_rows("experiment", "circle", Tree.at())) == ["seed=1"]


def test_defaults_are_what_the_root_chooses() -> None:
    assert {"model/lenet5", "tracker/none"} <= default_options(Tree.packaged())
    assert "seed=0" in root_rows(Tree.packaged())
    write(Path("conf/config.yaml"), "defaults: [\n")
    assert default_options(Tree.at()) == set()
