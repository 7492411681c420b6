"""Checkpoints hold the whole state, load without running code, and are refused by name when they do not fit."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from digitnet.errors import CheckpointError
from digitnet.models import AllConv, LeNet5
from digitnet.training import checkpoint
from digitnet.training.state import TrainState


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run's folder with a last.pt of LeNet-5 after one step of RMSprop."""
    model = LeNet5(generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.RMSprop(model.parameters())
    model(torch.rand(4, 1, 28, 28)).sum().backward()
    optimizer.step()
    state = TrainState(model, optimizer, torch.Generator().manual_seed(7), epoch=3, steps=42)
    (tmp_path / "checkpoints").mkdir()
    checkpoint.save_checkpoint(
        [tmp_path / "checkpoints" / "last.pt"], state, "lenet5", {"seed": 0, "schedule": {"phases": [1]}}
    )
    return tmp_path


def test_checkpoint_holds_everything_that_resuming_needs(run_dir: Path) -> None:
    content = checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt")
    assert (content["epoch"], content["step"], content["config"]["seed"]) == (3, 42, 0)
    assert torch.equal(content["generator"], torch.Generator().manual_seed(7).get_state())
    assert torch.equal(content["torch_rng"], torch.get_rng_state())
    optimizer = torch.optim.RMSprop(LeNet5().parameters())
    optimizer.load_state_dict(content["optimizer"])
    assert len(optimizer.state) == len(list(LeNet5().parameters()))


def test_restored_optimizer_keeps_its_learning_rate_tensor(run_dir: Path) -> None:
    """A recorded step reads the rate from a tensor, whatever the checkpoint holds."""
    model = LeNet5()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=torch.tensor(0.5), capturable=True)
    rate = optimizer.param_groups[0]["lr"]
    state = TrainState(model, optimizer, torch.Generator())
    checkpoint.restore_checkpoint(state, checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt"), images=1)
    assert (state.epoch, state.steps) == (3, 42)
    (group,) = optimizer.param_groups
    assert isinstance(group["lr"], torch.Tensor)
    assert group["lr"] == rate == 0.5
    assert group["capturable"]
    assert len(optimizer.state) == len(list(model.parameters()))


def test_checkpoint_of_another_optimizer_is_refused(run_dir: Path) -> None:
    model = LeNet5()
    state = TrainState(model, torch.optim.SGD(list(model.parameters())[:1]), torch.Generator())
    with pytest.raises(ValueError, match="loaded state dict contains"):
        checkpoint.restore_checkpoint(state, checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt"), images=1)


def test_restore_on_another_device_repeats_no_random_draws(run_dir: Path) -> None:
    content = checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt") | {"device": "cuda"}
    model = LeNet5()
    state = TrainState(model, torch.optim.RMSprop(model.parameters()), torch.Generator().manual_seed(7))
    torch.manual_seed(8)
    checkpoint.restore_checkpoint(state, content, images=1)
    drawn = torch.rand(3, generator=state.generator), torch.rand(3)
    torch.manual_seed(8)
    assert not torch.equal(drawn[0], torch.rand(3, generator=torch.Generator().manual_seed(7)))
    assert not torch.equal(drawn[1], torch.rand(3))
    checkpoint.restore_checkpoint(state, content, images=1)
    assert torch.equal(drawn[1], torch.rand(3))  # and the same each time


@pytest.mark.parametrize("order", [torch.tensor([0, 1]), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 3])])
def test_invalid_permutation_is_refused(run_dir: Path, order: torch.Tensor) -> None:
    content = checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt")
    content["underway"] = {"order": order, "done": 1, "sums": [], "seconds": 0.0}
    model = LeNet5()
    state = TrainState(model, torch.optim.RMSprop(model.parameters()), torch.Generator())
    with pytest.raises(ValueError, match="its permutation is not one of 3 images"):
        checkpoint.restore_checkpoint(state, content, images=3)


RECORD = {
    "epoch": 1, "lr": 1.0, "train_loss": 1.0, "train_acc": 0.5, "val_loss": 1.0, "val_acc": 0.5, "epoch_seconds": 1.0,
    "images_per_second": 3.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": -1}, "its epoch is -1"),
        ({"epoch": 0.5}, "its epoch is 0.5"),
        ({"step": -3}, "its step is -3"),
        ({"records": [RECORD | {"val_loss": float("nan")}]}, "its records have numbers that are not finite"),
        ({"done": -1}, "-1 of 3 images of its epoch are done"),
        ({"done": 4}, "4 of 3 images of its epoch are done"),
        ({"seconds": float("inf")}, "the measurements of its epoch are not finite"),
        ({"sums": [torch.tensor([float("nan"), 0, 0, 0])]}, "the measurements of its epoch are not finite"),
    ],
    ids=str,
)
def test_impossible_progress_is_refused(run_dir: Path, changes: dict[str, Any], message: str) -> None:
    content = checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt")
    partial = {"order": torch.arange(3), "done": 1, "sums": [torch.zeros(4)], "seconds": 0.0}
    content["underway"] = {**partial, **{key: value for key, value in changes.items() if key in partial}}
    content |= {key: value for key, value in changes.items() if key not in partial}
    model = LeNet5()
    before = [weights.clone() for weights in model.parameters()]
    state = TrainState(model, torch.optim.RMSprop(model.parameters()), torch.Generator())
    with pytest.raises(ValueError, match=message):
        checkpoint.restore_checkpoint(state, content, images=3)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_checkpoint_that_would_need_more_memory_than_its_size_is_refused(run_dir: Path) -> None:
    """A file of some megabytes may hold gigabytes of zeros."""
    path = run_dir / "checkpoints" / "last.pt"
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_checkpoint(path)
    assert str(caught.value) == f"{path}: compressed, which digitnet's are not: it may be of any size"
    with zipfile.ZipFile(path, "w") as overlapping:
        overlapping.writestr("a", bytes(1000))
        overlapping.filelist += overlapping.filelist * 5
    with pytest.raises(CheckpointError, match=r"damaged \(its parts are larger than the whole\)"):
        checkpoint.load_checkpoint(path)


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_only_a_regular_file_is_read_as_a_checkpoint(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last.pt"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(
        CheckpointError, match=r"last\.pt: not a readable checkpoint \(OSError: .*(not a file|is a link)"
    ):
        checkpoint.load_checkpoint(path)


def test_load_weights_restores_the_saved_weights(run_dir: Path) -> None:
    model = LeNet5()
    checkpoint.load_weights(model, "lenet5", run_dir / "checkpoints" / "last.pt")
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('ran', 'w')",)


def test_weights_of_another_network_are_refused_by_name(run_dir: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(AllConv(), "allconv", run_dir / "checkpoints" / "last.pt")
    assert str(caught.value).endswith("last.pt: saved for lenet5, the config asks for allconv; set model=lenet5")


def test_weights_of_another_size_are_refused(run_dir: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights do not fit this lenet5 .*size mismatch"):
        checkpoint.load_weights(LeNet5(classes=7), "lenet5", run_dir / "checkpoints" / "last.pt")


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pt: no such checkpoint"):
        checkpoint.load_checkpoint(tmp_path / "last.pt")


def test_flipped_bit_is_found_by_the_checksum(run_dir: Path) -> None:
    path = run_dir / "checkpoints" / "last.pt"
    weights = torch.load(path, weights_only=True)["model"]["layers.9.weight"].numpy().tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(weights) + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt: damaged \(the checksum of .*/data/\d+ is wrong\)"):
        checkpoint.load_weights(LeNet5(), "lenet5", run_dir / "checkpoints" / "last.pt")


@pytest.mark.parametrize("weights", [3, {1: 2}, {"layers.0.weight": "text"}])
def test_weights_of_a_wrong_type_are_refused(run_dir: Path, weights: object) -> None:
    torch.save({"model": weights, "model_name": "lenet5"}, run_dir / "checkpoints" / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: its weights do not fit this lenet5"):
        checkpoint.load_weights(LeNet5(), "lenet5", run_dir / "checkpoints" / "last.pt")


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "pickle", "zipped pickle", "foreign"])
def test_unreadable_checkpoint_runs_no_code(run_dir: Path, damage: str) -> None:
    path = run_dir / "checkpoints" / "last.pt"
    whole = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("<html>")
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "pickle":
            path.write_bytes(pickle.dumps(Malicious()))
        case "zipped pickle":
            torch.save(Malicious(), path)
        case "foreign":
            torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"last\.pt: not a (readable )?checkpoint"):
        checkpoint.load_checkpoint(path)
    assert not Path("ran").exists()


def test_checkpoint_that_a_run_replaces_while_it_is_read_is_the_earlier_one(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_dir / "checkpoints" / "last.pt"

    def replacing(file: Any) -> zipfile.ZipFile:
        """Opens the archive after another process has put a smaller one in its place."""
        (run_dir / "other.pt").write_bytes(b"smaller")
        (run_dir / "other.pt").replace(path)
        return ZipFile(file)

    ZipFile = zipfile.ZipFile  # noqa: N806
    monkeypatch.setattr(checkpoint.zipfile, "ZipFile", replacing)
    assert checkpoint.load_checkpoint(path)["step"] == 42
