from pathlib import Path

from conftest import write
from digitnet.config.candidates import (
    changeable_candidates,
    override_candidates,
    path_candidates,
    run_folder_candidates,
)


def test_overrides_are_groups_options_keys_and_values() -> None:
    assert {"model=", "tracker=", "hydra/launcher=", "seed=", "trainer."} <= set(override_candidates([], ""))
    assert set(override_candidates([], "tracker=")) == {
        f"tracker={name}" for name in ("mlflow", "none", "tensorboard", "trackio", "wandb")
    }
    assert "aug.shift=" in override_candidates(["aug=distort"], "aug.s")
    assert "trainer.precision=bf16" in override_candidates([], "trainer.precision=")


def test_changeable_overrides_are_those_that_resume_accepts() -> None:
    words = set(changeable_candidates(""))
    assert {"trainer.", "checkpoint.", "logger=", "device=", "tracker=", "tracker."} <= words
    assert not {"seed=", "model=", "optimizer.", "device."} & words
    assert "trainer.batch_size=" not in changeable_candidates("trainer.")


def test_paths_and_folders_of_runs() -> None:
    write(Path("outputs/a/summary.json"), "{}")
    write(Path("outputs/a/checkpoints/last.pt"), "")
    write(Path("outputs/.hidden/x"), "")
    assert set(path_candidates("outputs/a/")) == {"outputs/a/summary.json", "outputs/a/checkpoints/"}
    assert list(run_folder_candidates("outputs/")) == ["outputs/a/"]
    assert list(run_folder_candidates("outputs/a/")) == []  # within a run
    assert list(path_candidates("nowhere/")) == []
