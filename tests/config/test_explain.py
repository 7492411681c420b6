"""Hydra's complaints: overrides that cannot be read, unknown groups and options."""

import pytest

from conftest import Command
from mistakes import FOREIGN, Mistake, assert_answered

MISTAKES: list[Mistake] = [
    (
        {"config.yaml": "defaults: [model: lenet5]\n"},
        "experiment=allconv",
        f"the root's defaults have no 'experiment'; write +experiment=OPTION, or add it there\n{FOREIGN}",
    ),
    ({}, "model=[lenet5,allconv]", "model=[lenet5,allconv]: not the name of an option; see digitnet --help"),
    ({}, "tracker=[]", "tracker=[]: is no list of options; write tracker=[A,B], or tracker=none for none of them"),
    ({}, "tracker=[null]", "tracker=[null]: is no list of options; *"),
    ({}, "tracker=[mlflow,1]", "tracker=[mlflow,1]: is no list of options; *"),
    ({}, "tracker=[none,mlflow]", "tracker=[none,mlflow]: 'none' beside others; leave it out"),
    ({}, "tracker=[mlflow,nope]", "tracker=nope: no such option … did you mean 'none'? There are mlflow, none, *"),
    ({}, "tracker.mlflow=null", "tracker.mlflow=null: would leave the tracker out; choose the others instead, or *"),
    ({}, "tracker.mlflow.uri=x", "no key 'tracker.mlflow.uri'; it belongs to tracker=mlflow"),
    ({}, "tracker.mlflow=x", "no key 'tracker.mlflow'; it belongs to tracker=mlflow"),
    ({}, "tracker=mlflow tracker.mlflow.url=x", "no key 'tracker.mlflow.url' … did you mean 'tracker.mlflow.uri'?"),
    ({}, "model=../model/lenet5", "model=../model/lenet5: not the name of an option; see digitnet --help"),
    ({}, "optimizer=null seed=1", "optimizer=null: not the name of an option; see digitnet --help"),
    ({}, "-m optimizer=sgd,adamm", "optimizer=adamm: no such option … did you mean 'adam' or 'adamw'? There are *"),
    ({}, "schedule.phases=[{epochs:1,factor:1}", "schedule.phases=[{epochs:1,factor:1}: cannot be read; a bracket *"),
    ({}, "-m optimizer.lr=0.1, 0.3", "optimizer.lr=0.1,: a comma without a value beside it; write the values without "
     "blanks: optimizer.lr=A,B"),
    ({}, "seed=1 optimizer.lr = 0.1", "'optimizer.lr' has no value; write it without blanks: optimizer.lr=VALUE"),
    ({}, "optimizer.lr=0.1, 0.3", "'0.3' has no key; several values are written without blanks: KEY=0.1,0.3"),
    ({}, "optimizer.lr=log(0.01,3)", "optimizer.lr=log(0.01,3): no function 'log'; for digitnet tune, write "
     "optimizer.lr='tag(log, interval(0.01, 3))'"),
    ({}, "optimizer.lr=linspace(1,2)", "optimizer.lr=linspace(1,2): no function 'linspace'; there are choice(a,b), *"),
    ({}, "optimizer.lr==0.1", "optimizer.lr==0.1: has two '='; write optimizer.lr=0.1"),
    ({}, "optimizer.lr=“0.1”", "optimizer.lr=“0.1”: has a typographic quote, “; write optimizer.lr=0.1, or plain *"),
    ({}, "‘optimizer.lr=0.1’", "‘optimizer.lr=0.1’: has a typographic quote, ‘; write optimizer.lr=0.1, or plain *"),
    ({}, "trainer={nope:3}", "no key 'trainer.nope'; there are average, batch_size, *"),
    ({}, "tracker=nope", "tracker=nope: no such option … did you mean 'none'? There are mlflow, none, *"),
    ({}, "model=" + 5000 * "a", 'model=' + 400 * "a" + "*: no such option; there are "
     "allconv, custom, fastnet, lenet5, lenet5_1998, lenet5_no_dropout"),
    ({}, "--config-name " + 5000 * "a", "--config-name " + 400 * "a" + "*a: no such file; there are config"),
    ({}, "--config-dir " + 5000 * "a", "--config-dir " + 400 * "a" + "*a: no such folder"),
    ({}, "--cfg hydra --package optimizer", "--cfg hydra does not show optimizer; use --cfg job"),
    ({}, "--cfg job --package hydra.run", "--cfg job does not show hydra.run; use --cfg hydra"),
    ({}, "schedule.phases.name=3", "schedule.phases.name=3: invalid literal for int() with base 10: 'name'"),
    ({}, "schedule.phases.9.factor=3", "schedule.phases.9.factor=3: list index out of range"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "typed", "answer"), MISTAKES, ids=[row[2][:60] for row in MISTAKES])
def test_hydras_complaints_are_in_digitnets_words(
    command: Command, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes], typed: str, answer: str
) -> None:
    assert_answered(command, monkeypatch, files, typed, answer)
