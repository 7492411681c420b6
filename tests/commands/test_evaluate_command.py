"""`digitnet evaluate`: figures of a run's folder, which stays as it is; other data, another run, mistakes."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from conftest import CHECKOUT, TINY, Command, write
from digitnet.data.idx import WRONG_LABELS
from digitnet.experiment import evaluation
from digitnet.metrics import Evaluation
from digitnet.runs.formats import read_summary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of two epochs, a and b, with all checkpoints and held-out images."""
    from digitnet import cli

    folder = tmp_path_factory.mktemp("trained")
    for name, seed in (("a", 0), ("b", 1)):
        words = ["optimizer=adam", "optimizer.lr=0.003", "checkpoint.keep=null", "data.validation=300", f"seed={seed}"]
        assert cli.main([*TINY, *words, f"hydra.run.dir={folder / name}"]) == 0
    return folder


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_figures_are_those_of_the_run_and_its_folder_stays_as_it_is(trained: Path, command: Command) -> None:
    before = content(trained)
    done = command("evaluate", str(trained / "a"))
    assert (done.code, done.err) == (0, "")
    test = read_summary(trained / "a" / "summary.json").test
    assert test is not None
    lines = done.out.splitlines()
    assert lines[0] == f"{trained / 'a'}: lenet5 after epoch 2, test set of digits"
    assert lines[2].startswith(f"accuracy           {100 * test['accuracy']:.2f} %, 95 % interval ")
    assert lines[3] == f"errors             {test['errors']} of 360"
    assert lines[4] == f"loss               {test['loss']:.4f}"
    assert lines[8].split() == ["class", "precision", "recall", "f1", "n"]
    assert sum(int(line.split()[-1]) for line in lines[9:19]) == 360
    assert lines[20].startswith("most frequent confusions: ")
    assert content(trained) == before


def test_checkpoints_and_splits(trained: Path, command: Command) -> None:
    first, last = ({}, {})
    for name, found in (("epoch_1", first), ("last", last)):
        done = command(
            "evaluate", str(trained / "a"), "--checkpoint", name, "--split", "validation", "--format", "json"
        )
        found |= json.loads(done.out)[0]
    assert (first["epoch"], last["epoch"], first["n"], last["n"]) == (1, 2, 300, 300)
    summary = read_summary(trained / "a" / "summary.json")
    assert summary.final is not None
    assert last["accuracy"] == pytest.approx(summary.final["val_acc"])
    assert last["accuracy_low"] < last["accuracy"] < last["accuracy_high"]
    assert first["loss"] != last["loss"]
    done = command("evaluate", str(trained / "a"), "--split", "train", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["n"] == "1437"


def test_several_runs_are_rows(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), str(trained / "b"))
    title, heading, *rows = done.out.splitlines()
    assert title == f"{trained}:"
    assert heading.split()[:4] == ["accuracy", "accuracy_low", "accuracy_high", "errors"]
    assert [row.split()[-1] for row in rows] == ["a", "b"]
    assert command("evaluate", str(trained / "a"), str(trained / "b"), "--format", "md").out.count("\n") == 4


def test_against_another_run(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), "--against", str(trained / "b"))
    assert (done.code, done.err) == (0, "")
    tail = done.out.splitlines()[-5:]
    assert tail[0] == f"against {trained / 'b'}, on the same 360 images:"
    errors = [read_summary(trained / name / "summary.json").test for name in "ab"]
    assert errors[0] is not None
    assert errors[1] is not None
    ours, theirs = int(tail[1].split()[-1]), int(tail[2].split()[-1])
    assert ours - theirs == errors[1]["errors"] - errors[0]["errors"]
    assert tail[3].startswith(f"difference         {100 * (ours - theirs) / 360:+.2f} points, 95 % interval ")
    assert tail[4].startswith("exact McNemar      p = ")


def test_other_data(trained: Path, command: Command) -> None:
    for label in range(10):
        for number in range(3):
            write(
                Path(f"images/{label}/{number}.pgm"),
                f"P2 4 4 9\n{' '.join(str((label + number + k) % 10) for k in range(16))}",
            )
    done = command("evaluate", str(trained / "a"), "data=folder", "data.root=images", "data.test_fraction=0.5")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].endswith("test set of folder")
    write(Path("images/plus/0.pgm"), "P2 1 1 9\n3")
    write(Path("images/plus/1.pgm"), "P2 1 1 9\n7")
    done = command("evaluate", str(trained / "a"), "data=folder", "data.root=images")
    assert (done.code, done.err) == (
        1,
        "error: data=folder: its classes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …, "
        f"those of the run {trained / 'a'} are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n",
    )


def test_run_of_an_earlier_version_that_was_interrupted(command: Command) -> None:
    folder = CHECKOUT / "tests" / "earlier_versions" / "run"
    done = command("evaluate", str(folder), "--format", "json")
    assert (done.code, done.err) == (0, "")
    assert (json.loads(done.out)[0]["n"], json.loads(done.out)[0]["epoch"]) == (360, 1)


def test_known_wrong_labels_are_left_out_of_a_second_figure(
    trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "WRONG_LABELS", {"digits": (0, 5)})
    seen: list[Evaluation] = []
    of = Evaluation.of

    def look(logits: torch.Tensor, labels: torch.Tensor) -> Evaluation:
        seen.append(of(logits, labels))
        return seen[-1]

    monkeypatch.setattr(Evaluation, "of", look)
    lines = command("evaluate", str(trained / "a")).out.splitlines()
    without = next(one for one in seen if one.n == 358)
    text = f"{without.errors} of 358 without 2 images whose labels are known to be wrong"
    assert lines[4].strip() == text
    assert "known to be wrong" not in command("evaluate", str(trained / "a"), "--split", "train").out
    assert len(WRONG_LABELS["mnist"]) == 15


CUSTOM = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
"""


def test_network_of_a_foreign_folder_is_imported_with_trust_only(command: Command) -> None:
    write(Path("mine.py"), CUSTOM)
    words = ["model=custom", "model.target=mine:Net", "optimizer.lr=0.01", "trainer.epochs=1", "hydra.run.dir=run"]
    assert command(*TINY, *words).code == 0
    done = command("evaluate", "run")
    assert (done.code, done.err) == (
        2,
        "error: run: its network is mine:Net, which would be imported and run;\n"
        "if you trust the source of this folder, add --trust\n",
    )
    assert command("evaluate", "run", "--trust").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere", "nowhere: not a folder; give that of a run or of a sweep"),
        ("data=digits", "no run to evaluate: give the folder of one; see digitnet evaluate --help"),
        ("a --checkpoint epoch_9", "{a}: has no checkpoint 'epoch_9'; there is best, epoch_1, epoch_2, last"),
        ("a --checkpoint ../x", "--checkpoint ../x: is none of last, best, epoch_N"),
        (
            "a optimizer.lr=3",
            "optimizer.lr=3: cannot be changed in a trained network; data=…, data.KEY=…",
        ),
        ("a data.rot=x", "no key 'data.rot'; there are enlarge_to, name, validation"),
        ("a data=mnits", "data=mnits: no such option … did you mean 'mnist' or 'kmnist'?"),
        ("a data.enlarge_to=100", "data.enlarge_to=100: the embedded training set has 1137 images already"),
        (
            "a b --against a",
            "--against compares one run with another, and prints text; leave out --format and other runs",
        ),
        ("a --against b --split train", ""),
    ],
)
def test_mistakes(trained: Path, command: Command, words: str, message: str) -> None:
    typed = [str(trained / word) if word in ("a", "b") else word for word in words.split()]
    done = command("evaluate", *typed)
    if not message:
        assert done.code == 0
        return
    assert done.code in (1, 2)
    assert done.err.startswith(f"error: {message.format(a=trained / 'a')}"), done.err
    assert len(done.err.splitlines()) <= 4


def test_against_other_images_is_refused(trained: Path, command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "data.validation=200", "hydra.run.dir=other").code == 0
    done = command("evaluate", str(trained / "a"), "--against", "other", "--split", "validation")
    assert done.code == 2
    assert done.err.startswith("error: --against other: its validation set of digits has other images than the ")


def test_damaged_checkpoint_is_named(command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=run").code == 0
    write(Path("run/checkpoints/last.pt"), "no")
    done = command("evaluate", "run")
    assert done.code == 1
    assert done.err.startswith("error: run/checkpoints/last.pt: not a readable checkpoint")
