"""`digitnet evaluate`: figures of a run's folder, which stays as it is; other data, another run, mistakes."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from conftest import CHECKOUT, TINY, Command, write
from digitnet.corruptions import CORRUPTIONS
from digitnet.data.idx import WRONG_LABELS
from digitnet.experiment import evaluation
from digitnet.experiment.trained import open_trained
from digitnet.metrics import Evaluation
from digitnet.report import evaluation_plot
from digitnet.runs.formats import read_summary
from pictures import count_pixels, pixels

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


def know_wrong_labels(monkeypatch: pytest.MonkeyPatch, indices: tuple[int, ...]) -> None:
    """Of the embedded digits' test images."""
    load = evaluation.build.data
    monkeypatch.setattr(
        evaluation.build, "data", lambda *words, **named: replace(load(*words, **named), wrong_labels=indices)
    )


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
    assert [one["class"] for one in last["classes"]] == [*"0123456789"]
    assert sum(one["n"] for one in last["classes"]) == 300
    errors = sum(one["n"] for one in last["confusions"])
    assert errors == last["errors"]
    assert set(last["confusions"][0]) == {"true", "predicted", "n"}
    done = command("evaluate", str(trained / "a"), "--split", "train", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["n"] == "1437"


def test_several_runs_are_evaluated_alone_and_together(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), str(trained / "b"))
    title, heading, *rows = done.out.splitlines()
    rows, helpful = rows[:4], rows[4:]  # who helps depends on the device
    assert title == "test set of digits, 360 images"
    assert heading.split("  ")[0] == "network"
    assert heading.endswith("all without it")
    assert [re.split("  +", row)[0] for row in rows] == [
        str(trained / "a"), str(trained / "b"), "mean of probabilities", "majority vote",
    ]  # fmt: skip
    assert helpful
    assert all(line.startswith("members that ") for line in helpful)
    assert command("evaluate", str(trained / "a"), str(trained / "b"), "--format", "md").out.count("\n") == 6
    found = json.loads(command("evaluate", str(trained / "a"), str(trained / "b"), "--format", "json").out)
    assert [row["ensemble"] for row in found] == [None, None, "mean", "vote"]
    assert found[0]["ensemble_without"] == found[1]["accuracy"]  # without a there is b
    assert found[1]["ensemble_without"] == found[0]["accuracy"]
    assert (found[2]["folder"], found[3]["loss"]) == (None, None)


def test_ensemble_is_the_mean_of_probabilities_and_the_vote_with_ties_by_the_mean(trained: Path) -> None:
    networks = [open_trained(trained / name) for name in "aba"]
    members = evaluation.evaluate_networks(networks)
    found = evaluation.evaluate_ensemble(members)
    mean = (2 * members[0].probabilities + members[1].probabilities) / 3
    assert found.mean.score.correct == int((mean.argmax(1) == members[0].labels).sum())
    assert torch.allclose(found.mean.probabilities, mean)
    assert found.mean.score.loss == pytest.approx(float(F.nll_loss(mean.log(), members[0].labels)))
    assert found.vote.correct == members[0].score.correct  # a has two votes of three
    tie = evaluation.evaluate_ensemble(members[:2])
    right = 0
    for one, other, mean_of_both, label in zip(
        members[0].predicted, members[1].predicted, tie.mean.probabilities, members[0].labels, strict=True
    ):
        right += int(max((one, other), key=lambda guess: mean_of_both[guess]) == label)
    assert tie.vote.correct == right
    assert [rest.correct for rest in found.without][1] == members[0].score.correct


def test_other_images_with_the_same_labels_are_not_the_same_images(trained: Path) -> None:
    (one,) = evaluation.evaluate_networks([open_trained(trained / "a")])
    assert evaluation.of_same_images([one, one])
    for change in ({"images": one.images.flip(3)}, {"labels": one.labels.flip(0)}, {"classes": one.classes[::-1]}):
        assert not evaluation.of_same_images([one, replace(one, **change)])


def test_runs_of_a_sweep_are_an_ensemble_and_each_is_asked_once(
    trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, "sweep")
    write(Path("sweep/sweep.json"), json.dumps({"jobs": {}}))
    asked = []
    predict = evaluation.predict
    monkeypatch.setattr(evaluation, "predict", lambda *words: asked.append(1) or predict(*words))
    done = command("evaluate", "sweep", "--format", "csv")
    assert (done.code, done.err) == (0, "")
    assert [row["ensemble"] for row in csv.DictReader(io.StringIO(done.out))] == ["", "", "mean", "vote"]
    assert len(asked) == 2
    summary = json.loads(Path("sweep/a/summary.json").read_text())
    for name in "ab":
        write(Path(f"sweep/{name}/summary.json"), json.dumps({**summary, "status": "failed"}))
    done = command("evaluate", "sweep")
    text = "error: sweep: none of this sweep's runs is finished; digitnet compare sweep shows them\n"
    assert (done.code, done.err) == (2, text)


def test_runs_on_different_images_are_rows_alone(trained: Path, command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "data.validation=200", "hydra.run.dir=other").code == 0
    done = command("evaluate", str(trained / "a"), "other", "--split", "validation")
    heading, *rows = done.out.splitlines()
    assert "all without it" not in heading
    assert [row.split()[-3] for row in rows] == ["300", "200"]
    done = command("evaluate", str(trained / "a"), "other", "--split", "validation", "--plot", "x.png")
    text = "error: --plot draws one run, or an ensemble; these runs are of different images\n"
    assert (done.code, done.err) == (2, text)


def test_output_is_written_in_the_format_that_it_ends_in(trained: Path, command: Command) -> None:
    printed = command("evaluate", str(trained / "a")).out
    done = command("evaluate", str(trained / "a"), "--output", "a.txt")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert Path("a.txt").read_text() == printed
    assert command("evaluate", str(trained / "a"), "--output", "a.json").code == 0
    assert json.loads(Path("a.json").read_text())[0]["n"] == 360
    done = command("evaluate", str(trained / "a"), "--output", "a.json")
    assert (done.code, done.err) == (2, "error: --output a.json: exists; add --force to replace it\n")
    assert command("evaluate", str(trained / "a"), "--output", "a.json", "--force", "--format", "csv").code == 0
    assert Path("a.json").read_text().startswith("accuracy,")
    done = command("evaluate", str(trained / "a"), "--output", "a.doc")
    assert (done.code, done.err) == (2, "error: --output a.doc: ends in none of .txt, .csv, .json, .md\n")
    done = command("evaluate", str(trained / "a"), "--output", "no/a.md")
    assert (done.code, done.err) == (2, "error: --output no/a.md: the folder no does not exist; make it first\n")


def test_plot_shows_reliability_confusions_and_the_hardest_images(
    trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    draw = evaluation_plot.draw_evaluation

    def look(*words: object, **named: object) -> None:
        shown["words"] = words
        draw(*words, **named)

    monkeypatch.setattr(evaluation_plot, "draw_evaluation", look)
    know_wrong_labels(monkeypatch, tuple(range(360)))
    assert command("evaluate", str(trained / "a"), "--plot", "a.png").code == 0
    plain = pixels(Path("a.png"))
    blue, red = count_pixels(plain, (0, 0, 255)), count_pixels(plain, (255, 0, 0))
    assert blue > 50
    assert red > 50
    _, images, labels, _, _, bins, classes, title, wrong = shown["words"]
    assert (len(images), len(labels), len(classes), len(wrong)) == (360, 360, 10, 360)
    assert sum(count for _, count, _, _ in bins) == 360
    assert title.startswith("lenet5 after epoch 2 on the test set of digits: accuracy ")
    done = command("evaluate", str(trained / "a"), str(trained / "b"), "--plot", "b.svg")
    assert done.code == 0
    assert shown["words"][7].startswith("the mean of 2 networks on the test set of digits")
    done = command("evaluate", str(trained / "a"), "--plot", "a.png")
    assert (done.code, done.err) == (2, "error: --plot a.png: exists; add --force to replace it\n")


def test_images_under_corruptions(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), "--corruptions", "--format", "json", "--plot", "c.png")
    assert (done.code, done.err) == (0, "")
    rows = json.loads(done.out)
    assert [row["change"] for row in rows] == ["none", *CORRUPTIONS]
    clean = json.loads(command("evaluate", str(trained / "a"), "--format", "json").out)[0]
    assert (rows[0]["accuracy"], rows[0]["n"]) == (clean["accuracy"], 360)
    assert min(row["accuracy"] for row in rows) < clean["accuracy"] - 0.1
    assert pixels(Path("c.png")).shape[1] == 950
    lines = command("evaluate", str(trained / "a"), str(trained / "b"), "--corruptions").out.splitlines()
    assert lines[0].split() == ["change", str(trained / "a"), str(trained / "b")]
    assert len(lines) == 18
    mean = sum(row["errors"] / row["n"] for row in rows[1:]) / 15
    assert lines[-1].startswith(f"mean corruption error: {100 * mean:.2f} %, ")


def test_translated_and_rotated_images(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), "--shift", "--format", "csv", "--plot", "s.png")
    assert (done.code, done.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    clean = json.loads(command("evaluate", str(trained / "a"), "--format", "json").out)[0]["accuracy"]
    for kind, amounts in (("translation", [*range(-10, 11)]), ("rotation", [*range(-60, 61, 5)])):
        chosen = [row for row in rows if row["change"] == kind]
        assert [float(row["amount"]) for row in chosen] == amounts
        accuracies = [float(row["accuracy"]) for row in chosen]
        assert accuracies[len(accuracies) // 2] == clean
        assert max(accuracies[0], accuracies[-1]) < clean - 0.2
    assert pixels(Path("s.png")).shape == (440, 1100, 3)
    lines = command("evaluate", str(trained / "a"), "--shift").out.splitlines()
    assert lines[1].startswith("translation -10 px")
    assert lines[-1].startswith("rotation +60 degrees")


def test_against_another_run(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), "--against", str(trained / "b"))
    assert (done.code, done.err) == (0, "")
    tail = done.out.splitlines()[-5:]
    assert tail[0] == f"against {trained / 'b'}, on the same 360 images:"
    errors = [read_summary(trained / name / "summary.json").test for name in "ab"]
    assert errors[0] is not None
    assert errors[1] is not None
    found = json.loads(command("evaluate", str(trained / "a"), "--against", str(trained / "b"), "--format", "json").out)
    ours, theirs = len(found["only_first"]), len(found["only_second"])
    for line, label, images in (
        (tail[1], "right only here ", found["only_first"]),
        (tail[2], "right only there", found["only_second"]),
    ):
        start = f"{label}   {len(images)}: {', '.join(map(str, images[:20]))}"
        assert line == (f"{start}, …" if len(images) > 20 else start)
    assert found["n"] == 360
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
    know_wrong_labels(monkeypatch, (0, 5))
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
    (row,) = json.loads(command("evaluate", str(trained / "a"), "--format", "json").out)
    assert row["errors_without_wrong_labels"] == without.errors
    assert "known to be wrong" not in command("evaluate", str(trained / "a"), "--split", "train").out
    assert len(WRONG_LABELS) == 15


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
        ("a data=mnits", "data=mnits: no such option … did you mean 'mnist' or 'qmnist'?"),
        ("a data.enlarge_to=100", "data.enlarge_to=100: the embedded training set has 1137 images already"),
        (
            "a b --against a",
            "--against compares one run with another; leave out the other runs",
        ),
        ("a --against b --format csv", "--against is printed as a table or as json, not as csv"),
        ("a --against b --shift", "argument --shift: not allowed with argument --against; see digitnet evaluate"),
        ("a --plot x.bmp", "--plot x.bmp: ends in none of .png, .svg, .pdf"),
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


def test_tta_is_the_mean_over_shifts(trained: Path, command: Command) -> None:
    done = command("evaluate", str(trained / "a"), "--tta", "1")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].endswith("test set of digits, mean over 9 shifts by up to 1 pixel")
    (one,) = evaluation.evaluate_networks([open_trained(trained / "a")], tta=1)
    network = open_trained(trained / "a").model
    rows = []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            shifted = torch.zeros_like(one.images)
            for y in range(max(0, down), min(28, 28 + down)):
                for x in range(max(0, across), min(28, 28 + across)):
                    shifted[:, :, y, x] = one.images[:, :, y - down, x - across]
            with torch.no_grad():
                rows.append(network(shifted.float() / 255).softmax(1))
    torch.testing.assert_close(one.probabilities, torch.stack(rows).mean(0), check_dtype=False, atol=1e-5, rtol=1e-5)
    assert f"errors             {one.score.errors:,} of" in done.out


def test_tta_of_several_networks_and_of_changed_images(trained: Path, command: Command) -> None:
    both = [str(trained / name) for name in "ab"]
    assert command("evaluate", *both, "--tta", "2").out.splitlines()[0] == (
        "test set of digits, 360 images, mean over 25 shifts by up to 2 pixels"
    )
    rows = json.loads(command("evaluate", *both, "--tta", "1", "--format", "json").out)
    assert {row["tta"] for row in rows} == {1}
    for how in (["--shift", "--format", "csv"], ["--against", both[1]]):
        plain, shifted = (command("evaluate", both[0], *how, *more).out for more in ([], ["--tta", "1"]))
        assert plain != shifted


@pytest.mark.parametrize("pixels", ["-1", "5"])
def test_tta_beyond_the_margin_is_refused(trained: Path, command: Command, pixels: str) -> None:
    done = command("evaluate", str(trained / "a"), "--tta", pixels)
    assert (done.code, done.err) == (2, f"error: --tta {pixels}: is not a number of pixels from 0 to 4\n")
