"""Hydra's complaints: overrides that cannot be read, unknown groups and options."""

import pytest

from conftest import Command
from mistakes import Mistake, assert_answered

MISTAKES: list[Mistake] = [
    (
        {"config.yaml": "defaults: [model: lenet5]\n"},
        "experiment=allconv",
        "the root's defaults have no 'experiment'; write +experiment=OPTION, or add it there",
    ),
    ({}, "model=[lenet5,allconv]", "model=[lenet5,allconv]: not the name of an option; see digitnet --help"),
    ({}, "model=../model/lenet5", "model=../model/lenet5: not the name of an option; see digitnet --help"),
    ({}, "optimizer=null seed=1", "optimizer=null: not the name of an option; see digitnet --help"),
    ({}, "-m optimizer=sgd,adamm", "optimizer=adamm: no such option … did you mean 'adam' or 'adamw'? There are *"),
    ({}, "schedule.phases=[{epochs:1,factor:1}", "schedule.phases=[{epochs:1,factor:1}: cannot be read; a bracket *"),
    ({}, "schedule.phases.name=3", "schedule.phases.name=3: invalid literal for int() with base 10: 'name'"),
    ({}, "schedule.phases.9.factor=3", "schedule.phases.9.factor=3: list index out of range"),
]


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_hydras_complaints_are_in_digitnets_words(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)
