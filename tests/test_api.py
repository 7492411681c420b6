"""`from digitnet import run`: the same experiment as from the command line, with its records and its network."""

import json
import os
from pathlib import Path

import pytest
import torch

import digitnet
from conftest import TINY, Command, Trained, write
from digitnet import api, data, resume, run
from digitnet.config.compose import compose_run
from digitnet.config.files import Tree
from digitnet.errors import CheckpointError, ConfigError
from digitnet.runs.formats import read_metrics
from digitnet.training import runtime

FILES = [".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"]


def test_a_run_from_python_is_the_run_of_the_command_line(command: Command) -> None:
    options = [*TINY, "optimizer=adam", "seed=3"]
    result = run(*options)
    assert result.run_dir.parts[-3] == "outputs"
    assert [record.epoch for record in result.records] == [1, 2]
    assert result.records == read_metrics(result.run_dir / "metrics.csv")
    assert result.model.cpu()(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert json.loads((result.run_dir / "summary.json").read_text())["test"]["errors"] == result.test.errors

    assert command(*options, "hydra.run.dir=typed").code == 0
    typed = read_metrics(Path("typed/metrics.csv"))
    assert [record.val_loss for record in result.records] == [record.val_loss for record in typed]
    for name in FILES[::2]:
        ours = (result.run_dir / name).read_text()
        assert ours == Path("typed", name).read_text(), name
    assert (result.run_dir / FILES[1]).read_text().startswith("hydra:\n")


def test_completion_in_a_notebook_shows_what_there_is() -> None:
    assert {"run", "resume"} <= set(dir(digitnet))
    assert {"load_folder", "load_csv", "load_digits", "load_idx"} <= set(dir(data))


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


@pytest.mark.parametrize(
    "name", ["a\\b", "a\\", "${seed}", "\\${seed}", "a\\'b", "\\\\'", "${now:%Y}\\", "it's", '"', "#", "a=b,c"]
)
def test_folder_of_any_name(name: str) -> None:
    """Backslashes, quotes and `${` mean something to OmegaConf and Hydra."""
    composition = compose_run([f"hydra.run.dir={api._quoted(name)}"], Tree.at())
    assert composition.run_dir == Path(name)


def test_a_run_changes_no_settings_of_its_process() -> None:
    """As in a notebook, where other cells go on."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    run(*TINY, "trainer.epochs=1", "trainer.threads=1", "device=cpu")
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_settings_for_gpus_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(runtime.CUBLAS, raising=False)

    def settings() -> list[object]:
        backend, memory = torch.backends.cudnn, torch.utils.deterministic
        return [
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            backend.allow_tf32,
            backend.benchmark,
            memory.fill_uninitialized_memory,  # type: ignore[attr-defined]
            os.environ.get(runtime.CUBLAS),
        ]

    before = settings()
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    changed = settings()
    with runtime.restored_settings():
        runtime.make_deterministic(torch.device("cuda"))
        assert settings() == [True, True, False, False, False, ":4096:8"]
    assert settings() == changed != before


@pytest.mark.parametrize("damage", ["metrics", "test", "dataset", "missing"])
def test_result_of_a_finished_run_that_is_damaged_is_named(trained: Trained, damage: str) -> None:
    folder = trained(*TINY)
    assert resume(folder).records[-1].epoch == 2
    if damage == "missing":
        (folder / "metrics.csv").unlink()
    elif damage == "metrics":
        (folder / "metrics.csv").write_text("epoch\nx\n")
    else:
        summary = json.loads((folder / "summary.json").read_text()) | {damage: {}}
        (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(CheckpointError, match="run: its result cannot be read"):
        resume(folder)
