"""What a run writes, and when: checkpoints by epochs and by minutes, and a process that ends between two files."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, Command, figures
from digitnet.config.compose import load_config
from digitnet.runs.folder import RunFolder
from digitnet.runs.formats import RunSummary, read_summary
from digitnet.runs.writer import RunWriter
from digitnet.training import checkpoint
from digitnet.training.state import TrainState

pytestmark = pytest.mark.slow

HERE = Path("here")


def test_numbered_checkpoint_that_a_killed_process_left_out_is_made_again(command: Command) -> None:
    """Killed between last.pt and epoch_2.pt, of the second epoch."""
    options = [*TINY, "logger=metrics", "checkpoint.keep=2", "optimizer.lr=0.1"]
    assert command(*options, "trainer.epochs=2", "hydra.run.dir=run").code == 0
    wanted = checkpoint.load_checkpoint(Path("run/checkpoints/epoch_2.pt"))
    Path("run/checkpoints/epoch_2.pt").unlink()
    assert command("resume", "run", "trainer.epochs=3").code == 0
    assert {path.name for path in Path("run/checkpoints").glob("epoch_*")} == {"epoch_2.pt", "epoch_3.pt"}
    made = checkpoint.load_checkpoint(Path("run/checkpoints/epoch_2.pt"))
    assert made["epoch"] == wanted["epoch"] == 2
    assert all(torch.equal(weights, wanted["model"][name]) for name, weights in made["model"].items())


def test_keep_decides_which_checkpoints_are_left(command: Command) -> None:
    options = [*TINY, "trainer.epochs=5", "checkpoint.every_epochs=2"]
    for name, keep, kept in (("none", "0", []), ("two", "2", [4, 5]), ("all", "null", [2, 4, 5])):
        assert command(*options, f"checkpoint.keep={keep}", f"hydra.run.dir={name}").code == 0
        found = {path.name for path in Path(name, "checkpoints").iterdir()}
        assert found == {"best.pt", "last.pt", *(f"epoch_{number}.pt" for number in kept)}
        assert checkpoint.load_checkpoint(Path(name, "checkpoints/last.pt"))["epoch"] == 5


def test_without_every_epochs_only_the_best_and_the_last_epoch_have_checkpoints(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[str]] = []
    names_after = RunWriter._names_after

    def look(book: RunWriter, number: int) -> list[str]:
        written.append(names_after(book, number))
        return written[-1]

    monkeypatch.setattr(RunWriter, "_names_after", look)
    monkeypatch.setattr(RunWriter, "best", property(lambda book: book.records[0]))  # the first epoch
    options = ["trainer.epochs=4", "checkpoint.every_epochs=null", "checkpoint.keep=null"]
    assert command(*TINY, *options, "hydra.run.dir=run").code == 0
    assert written == [["last", "best"], [], [], ["last", "epoch_4"]]


def test_checkpoint_is_written_within_an_epoch_after_every_minutes(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def look(book: RunWriter, state: TrainState) -> None:
        write_checkpoint(book, state)
        content = checkpoint.load_checkpoint(HERE / "checkpoints" / "last.pt")
        seen.append((content["step"], content["underway"]["done"]))

    write_checkpoint = RunWriter.write_checkpoint
    monkeypatch.setattr(RunWriter, "write_checkpoint", look)
    options = [*TINY, "data.enlarge_to=4000", "trainer.epochs=1"]
    assert command(*options, "hydra.run.dir=here", "checkpoint.every_minutes=1e-9").code == 0
    assert seen == [(32, 1024), (64, 2048), (96, 3072), (125, 4000)]
    assert command(*options, "hydra.run.dir=other", "checkpoint.every_minutes=null").code == 0
    assert len(seen) == 4


class Died(BaseException):
    """A process that was killed, for who cannot catch it."""


@pytest.mark.parametrize(
    ("dying", "call", "epochs"),
    [
        ("training.checkpoint.write_atomically", "last.pt", 2),  # nor is there a best epoch that the run has not
        ("training.checkpoint.write_atomically", "best.pt", 3),
        ("runs.folder.write_metrics", "metrics.csv", 3),
    ],
)
def test_process_killed_between_two_files_is_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch, dying: str, call: str, epochs: int
) -> None:
    """Of the third epoch: the files that come after last.pt are brought to what it knows."""
    assert command(*TINY, f"trainer.epochs={epochs}", "trainer.threads=1", "hydra.run.dir=whole").code == 0
    room, _, name = dying.rpartition(".")
    count = 2 if call == "best.pt" else 3
    original = getattr(sys.modules[f"digitnet.{room}"], name)
    seen = 0

    def die(path: Path, *arguments: Any) -> None:
        nonlocal seen
        seen += path.name == call and ("metrics" not in call or len(arguments[0]) > 0)
        if seen == count:
            raise Died
        original(path, *arguments)

    odd = property(lambda book: [record for record in book.records if record.epoch % 2][-1])
    monkeypatch.setattr(RunWriter, "best", odd)  # the first epoch and the third
    write_summary = RunWriter.write_summary
    with monkeypatch.context() as patch:
        patch.setattr(f"digitnet.{dying}", die)
        patch.setattr(RunWriter, "write_summary", lambda book: None if seen == count else write_summary(book))
        with pytest.raises(Died):
            command(*TINY, "trainer.epochs=3", "trainer.threads=1", "hydra.run.dir=here")
    assert read_summary(HERE / "summary.json").status == "running"
    assert command("resume", "here", f"trainer.epochs={epochs}").code == 0
    assert figures(HERE) == figures(Path("whole"))
    summary = read_summary(HERE / "summary.json")
    assert (summary.steps, summary.epochs) == (45 * epochs, epochs)
    assert summary.best is not None
    assert (
        checkpoint.load_checkpoint(HERE / "checkpoints" / "best.pt")["epoch"]
        == summary.best["epoch"]
        == {2: 1, 3: 3}[epochs]
    )


def test_failure_before_the_folder_is_shared_writes_nothing(tmp_path: Path) -> None:
    """Rank 0 was killed before it had made one, or had said which."""
    writer = RunWriter(RunFolder(tmp_path), RunSummary("running", "", 0, {}), load_config(TINY), writes=False)
    assert writer.record_failure(KeyboardInterrupt()) == "Stopped before training began"
    assert list(tmp_path.iterdir()) == []  # nor is anything written: that is rank 0's
