"""`from digitnet import run`: the same experiment as from the command line, with its records and its network."""

import json
from pathlib import Path

import pytest
import torch

from conftest import TINY, Command, write
from digitnet import run
from digitnet.errors import ConfigError
from digitnet.runs.formats import read_metrics

FILES = [".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"]


def test_a_run_from_python_is_the_run_of_the_command_line(command: Command) -> None:
    options = [*TINY, "optimizer=adam", "seed=3"]
    result = run(*options)
    assert result.run_dir.parts[-3] == "outputs"
    assert [record.epoch for record in result.records] == [1, 2]
    assert result.records == read_metrics(result.run_dir / "metrics.csv")
    assert result.model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert json.loads((result.run_dir / "summary.json").read_text())["test"]["errors"] == result.test.errors

    assert command(*options, "hydra.run.dir=typed").code == 0
    typed = read_metrics(Path("typed/metrics.csv"))
    assert [record.val_loss for record in result.records] == [record.val_loss for record in typed]
    for name in FILES[::2]:
        ours = (result.run_dir / name).read_text()
        assert ours == Path("typed", name).read_text(), name
    assert (result.run_dir / FILES[1]).read_text().startswith("hydra:\n")


def test_folders_with_spaces_and_quotes() -> None:
    folder = Path("a b's/c,d=[e]")
    result = run(*TINY, "trainer.epochs=1", run_dir=folder)
    assert (folder / "summary.json").exists()
    assert result.run_dir == folder
    with pytest.raises(ConfigError, match="holds a run already"):
        run(*TINY, run_dir=folder)


def test_options_of_ones_own() -> None:
    write(Path("mine/optimizer/slow.yaml"), "defaults: [sgd]\nlr: 0.25\n")
    result = run(*TINY, "trainer.epochs=1", "optimizer=slow", config_dir="mine")
    assert result.records[0].lr == 0.25


def test_mistakes_are_config_errors() -> None:
    with pytest.raises(ConfigError, match=r"no key 'optimizer\.lrr' … did you mean 'optimizer\.lr'"):
        run("optimizer.lrr=1")
    assert not Path("outputs").exists()


def test_nothing_else_is_in_the_package() -> None:
    import digitnet

    with pytest.raises(AttributeError, match="module 'digitnet' has no attribute 'runn'"):
        digitnet.runn  # noqa: B018
