"""`digitnet resume RUN_DIR` in this process: what may change, what is refused, and folders from somebody else."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, Command, Trained, write
from digitnet import resume, run
from digitnet.errors import ConfigError
from digitnet.runs.formats import read_summary
from digitnet.training import checkpoint

pytestmark = pytest.mark.slow

HERE = Path("here")


def edit(**changes: object) -> None:
    content = json.loads((HERE / "summary.json").read_text())
    write(HERE / "summary.json", json.dumps(content | changes))


def test_custom_network_of_a_run_folder_is_imported_only_with_trust(command: Command) -> None:
    write(
        Path("mine.py"),
        "from torch import nn\n"
        "__import__('pathlib').Path('imported').touch()\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n",
    )
    options = [*TINY, "model=custom", "model.target=mine:Net", "optimizer.lr=0.1", "hydra.run.dir=here"]
    assert command(*options).code == 0
    Path("imported").unlink()
    sys.modules.pop("mine")
    done = command("resume", "here", "trainer.epochs=3")
    assert done.code == 2
    assert done.err == (
        "error: here: its network is mine:Net, which would be imported and run;\n"
        "if you trust the source of this folder, add --trust\n"
    )
    assert not Path("imported").exists()
    assert command("resume", "here", "trainer.epochs=3", "--trust").code == 0
    assert Path("imported").exists()
    assert read_summary(HERE / "summary.json").resumed == ["digitnet resume here trainer.epochs=3 --trust"]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


def test_code_in_a_checkpoint_is_not_run(trained: Trained, command: Command) -> None:
    trained(*TINY, to="here")
    last = HERE / "checkpoints" / "last.pt"
    torch.save({**checkpoint.load_checkpoint(last), "underway": Malicious()}, last)
    done = command("resume", "here", "trainer.epochs=3")
    assert done.code == 1
    assert done.err.startswith("error: here/checkpoints/last.pt: not a readable checkpoint (UnpicklingError: ")
    assert not Path("ran").exists()


def test_link_in_a_run_folder_is_refused(trained: Trained, command: Command) -> None:
    trained(*TINY, to="here")
    write(Path("precious"), "mine")
    (HERE / "train.log").unlink()
    (HERE / "train.log").symlink_to(Path("precious").resolve())
    done = command("resume", "here", "trainer.epochs=3")
    assert done.code == 1
    assert done.err == "error: here/train.log: a link, which no run creates; replace it by what it points to\n"
    assert Path("precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (
            lambda: None,
            2,
            "optimizer.lr=3: cannot be changed in a run that has begun; what can: digitnet resume --help;",
        ),
        (lambda: shutil.rmtree(HERE), 2, "here: not a folder; give that of a run or of a sweep"),
        (
            lambda: (HERE / "summary.json").unlink(),
            2,
            "here: no summary.json there; restore it; without it, the weights ",
        ),
        (lambda: write(HERE / "summary.json", "{"), 1, "here/summary.json: not a run's summary (Invalid JSON: "),
        (
            lambda: write(HERE / "summary.json", "[]"),
            1,
            "here/summary.json: not a run's summary (Input should be",
        ),
        (
            lambda: edit(resumed=None),
            1,
            "here/summary.json: not a run's summary (resumed: Input should be a valid arr",
        ),
        (lambda: edit(epochs="many"), 1, "here/summary.json: not a run's summary (epochs: Input should be a valid int"),
        (lambda: edit(device=None), 1, "here/summary.json: not a run's summary (device: Input should be an obj"),
        (
            lambda: (HERE / "checkpoints/last.pt").unlink(),
            1,
            "here/checkpoints/last.pt: is missing, and was of step 45",
        ),
        (lambda: write(HERE / "checkpoints/last.pt", "PK"), 1, "here/checkpoints/last.pt: not a readable checkpoint ("),
        (
            lambda: another(seed=7),
            1,
            "here/checkpoints/last.pt: does not fit the run (ValueError: it is of another run: ",
        ),
        (lambda: another(model={"name": 1}), 1, "here/checkpoints/last.pt: does not fit the run (ValidationError: "),
        (lambda: os.mkfifo(HERE / "notes"), 1, "here/notes: neither a file nor a folder; remove it"),
        (lambda: edit(config={}), 1, "here/summary.json: from a version that could not resume; start a new run"),
        (lambda: edit(config={"seed": 1}), 2, "here/summary.json: "),
        (lambda: edit(status="diverged"), 2, "here: diverged, and would again; start a new run"),
    ],
)
def test_run_that_cannot_be_resumed_is_explained(
    trained: Trained, command: Command, spoil: Any, code: int, message: str
) -> None:
    trained(*TINY, "trainer.epochs=1", to="here")
    spoil()
    before = result()
    done = command("resume", "here", "optimizer.lr=3" if "lr=3" in message else "trainer.epochs=2")
    assert result() == before
    assert done.err.startswith(f"error: {message}"), done.err
    assert done.code == code
    assert len(done.err.splitlines()) <= 4


def result() -> list[object]:
    """What a resume that is refused must not touch."""
    try:
        summary = read_summary(HERE / "summary.json")
    except (OSError, ValueError):
        return []
    return [summary.status, summary.test, summary.epochs, summary.config, (HERE / "metrics.csv").read_bytes()]


def another(**changes: Any) -> None:
    last = HERE / "checkpoints" / "last.pt"
    content = checkpoint.load_checkpoint(last)
    torch.save({**content, "config": content["config"] | changes}, last)


def test_folder_near_a_run_is_answered_with_its_path(trained: Trained, command: Command) -> None:
    """A folder that is near a run's leads to it."""
    trained(*TINY, "trainer.epochs=1", "checkpoint.keep=1", to="runs/1")
    write(Path("runs/2/.hydra/config.yaml"), "")
    for folder, hint in (
        ("runs", "no summary.json there; give one of the runs in it, runs/1 for instance"),
        ("runs/1/checkpoints", "no summary.json there; give runs/1"),
        ("runs/2", "no summary.json there; it never started training; start it again"),
        ("runs/2/.hydra", "no summary.json there; give the folder of a run or of a sweep"),
        ("runs/3", "not a folder; give that of a run or of a sweep"),
        ("seed=1", "no such folder; RUN_DIR comes first: digitnet resume RUN_DIR seed=1"),
    ):
        done = command("resume", folder)
        assert (done.code, done.err) == (2, f"error: {folder}: {hint}\n")
    last = Path("runs/1/checkpoints/last.pt")
    last.unlink()
    done = command("resume", "runs/1", "trainer.epochs=2")
    assert done.err.endswith(
        "restore it, or resume from another one: cp runs/1/checkpoints/epoch_1.pt runs/1/checkpoints/last.pt\n"
    )
    shutil.copy("runs/1/checkpoints/epoch_1.pt", last)
    assert command("resume", "runs/1", "trainer.epochs=2").code == 0


def test_resume_draws_the_pictures_of_a_finished_run(trained: Trained, command: Command) -> None:
    trained(*TINY, to="here")
    test = read_summary(HERE / "summary.json").test
    assert command("resume", "here", "logger=full").code == 0
    assert (HERE / "confusion.png").exists()
    assert read_summary(HERE / "summary.json").test == test


def test_resume_from_another_working_directory(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, grey in (("no", 10), ("yes", 240)):
        for number in range(4):
            picture(Path("images", name, f"{number}.png"), grey + number)
    options = ["data=folder", "data.root=images", "trainer.epochs=1", "optimizer.lr=0.1", "logger=metrics"]
    assert command(*options, "hydra.run.dir=here").code == 0
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert command("resume", "../here", "trainer.epochs=2").code == 0


def test_mistake_in_the_arguments_is_explained(trained: Trained, command: Command) -> None:
    trained(*TINY, "trainer.epochs=2", to="here")
    for arguments, message in (
        ("trainer.epoch=3", "no key 'trainer.epoch' … did you mean 'trainer.epochs'?"),
        ("trainer.epochs=three", "trainer.epochs=three: should be a valid integer"),
        ("trainer.epochs=3,4", "trainer.epochs=3,4: has several values; give one"),
        ("trainer.epochs=1", "trainer.epochs=1: the run has 2 already; ask for at least 2"),
        ("device=tpu", "device=tpu: no such option … did you mean 'cpu'? There are auto, cpu"),
        ("logger=metric", "logger=metric: no such option … did you mean 'metrics'?"),
        ("checkpoint.kep=1", "no key 'checkpoint.kep' … did you mean 'checkpoint.keep'?"),
        (
            "checkpoint=1",
            "checkpoint=1: has no options; set one of checkpoint.every_epochs, checkpoint.every_minutes, ",
        ),
        ("another", "'another': is not KEY=VALUE; see digitnet resume --help"),
    ):
        done = command("resume", "here", arguments)
        assert (done.code, done.err[: len(message) + 7]) == (2, f"error: {message}"), done.err
    assert command("resume").err == "error: the following arguments are required: RUN_DIR; see digitnet resume --help\n"
    done = command("resume", "here")
    assert (done.code, done.out) == (0, "here: finished; for more: digitnet resume here trainer.epochs=N\n")


def test_resume_with_other_images_is_refused(command: Command) -> None:
    for name, grey in (("no", 10), ("yes", 240)):
        for number in range(4):
            picture(Path("images", name, f"{number}.png"), grey + number)
    options = ["data=folder", "data.root=images", "trainer.epochs=1", "optimizer.lr=0.1", "logger=metrics"]
    assert command(*options, "hydra.run.dir=here").code == 0
    picture(Path("images/no/0.png"), 99)
    done = command("resume", "here", "trainer.epochs=2")
    assert done.code == 1
    assert done.err == (
        f"error: here/checkpoints/last.pt: of a run on other images than those in {Path('images').absolute()} now "
        "(others of the same number);\nrestore those, or start a new run\n"
    )
    Path("images/no/0.png").unlink()
    assert "now (8 images then, 7 images now);" in command("resume", "here", "trainer.epochs=2").err


def picture(path: Path, grey: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (28, 28), grey).save(path)


def test_resume_keeps_the_data_that_auto_found(command: Command, small_mnist: Path) -> None:
    hidden = small_mnist.rename(small_mnist.with_name("hidden"))
    assert command("data.enlarge_to=1437", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=here").code == 0
    assert read_summary(HERE / "summary.json").dataset["name"] == "digits"
    shutil.copytree(hidden, small_mnist, dirs_exist_ok=True)
    assert command("resume", "here", "trainer.epochs=2").code == 0
    assert read_summary(HERE / "summary.json").dataset["name"] == "digits"


def test_longer_run_of_a_schedule_that_depends_on_the_length_is_warned_of(trained: Trained, command: Command) -> None:
    trained(*TINY, "schedule=cosine", to="here")
    done = command("resume", "here", "trainer.epochs=3")
    assert (
        "warning: schedule=cosine depends on the run's length: the epochs so far used the schedule for 2, the others "
        "use that for 3\n"
    ) in done.out


def test_warmup_that_was_cut_is_warned_of_when_the_run_gets_longer(command: Command) -> None:
    done = command(*TINY, "aug=distort", "hydra.run.dir=here")
    assert done.code == 0
    assert "parameters, distorted images from epoch 2 on\n" in done.out
    assert "\nnote: aug.warmup_epochs=2 is cut to 1: the run has 2 epochs\n" in done.out
    text = "aug.warmup_epochs was cut to 1 for 2 epochs: the epochs so far used that, the others use 2"
    assert f"\nwarning: {text}\n" in command("resume", "here", "trainer.epochs=3").out


def test_resume_on_another_machine_is_warned_of(trained: Trained, command: Command) -> None:
    trained(*TINY, "trainer.threads=1", to="here")
    content = json.loads((HERE / "summary.json").read_text())
    edit(device={**content["device"], "threads": 64}, versions={**content["versions"], "torch": "1.0"})
    done = command("resume", "here", "trainer.epochs=3")
    assert "so results may differ (threads was 64, is 1; torch was 1.0, is 2" in done.out


def test_resume_from_python(command: Command) -> None:
    done = run(*TINY, run_dir="here")
    again = resume("here", "trainer.epochs=3")
    assert [record.epoch for record in again.records] == [1, 2, 3]
    assert again.records[:2] == done.records
    loaded = resume("here")  # finished: nothing is trained
    assert (loaded.records, loaded.test, loaded.run_dir) == (again.records, again.test, Path("here"))
    weights = again.model.cpu().state_dict()
    assert all(torch.equal(tensor.cpu(), weights[name]) for name, tensor in loaded.model.state_dict().items())
    assert read_summary(Path("here/summary.json")).resumed == ["digitnet resume here trainer.epochs=3"]
    with pytest.raises(ConfigError, match="cannot be changed in a run that has begun"):
        resume("here", "seed=3")


def test_resume_downloads_only_to_a_root_that_is_named(command: Command, small_mnist: Path) -> None:
    """A foreign folder's data.root could be any folder of the user's."""
    options = ["data=mnist", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=here"]
    assert command(*options).code == 0
    raw = small_mnist / "MNIST" / "raw"
    shutil.rmtree(raw)
    write(raw / ".unfinished" / "x", "precious")
    done = command("resume", "here", "trainer.epochs=2")
    assert done.code == 1
    assert done.err.startswith(
        f"error: data=mnist: {raw}/train-images-idx3-ubyte.gz is missing and cannot be downloaded "
        "(it is downloaded only to a data.root that you give);\n"
    )
    assert [str(path.relative_to(raw)) for path in raw.rglob("*")] == [".unfinished", ".unfinished/x"]
    done = command("resume", "here", "trainer.epochs=2", f"data.root={small_mnist}")
    assert "urlopen error" in done.err
    assert read_summary(HERE / "summary.json").status == "finished"


def test_resume_leaves_other_files_in_the_folder_alone(command: Command) -> None:
    """Whoever trains in a folder with other things in it finds them as they were."""
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=.", "checkpoint.keep=1").code == 0
    Path("venv").mkdir()
    Path("venv/python").symlink_to(sys.executable)
    others = [
        Path("other/checkpoints/.unfinished-last.pt"),
        Path("checkpoints/epoch_1_good.pt"),
        Path("checkpoints/epoch_best.pt"),
    ]
    for path in others:
        write(path, "mine")
    left = Path("checkpoints/.unfinished-epoch_9.pt")
    write(left, "half")
    assert command("resume", ".", "trainer.epochs=3").code == 0
    assert [path.read_text() for path in others] == ["mine"] * 3
    assert not left.exists()
    assert sorted(path.name for path in Path("checkpoints").glob("epoch_?.pt")) == ["epoch_3.pt"]


def test_resume_draws_missing_distorted_images(command: Command) -> None:
    options = [*TINY, "aug=distort", "aug.warmup_epochs=1", "logger=full", "logger.predictions=false"]
    assert command(*options, "hydra.run.dir=here").code == 0
    before = (HERE / "distorted.png").read_bytes()
    (HERE / "distorted.png").unlink()
    edit(status="running")
    assert command("resume", "here").code == 0
    assert (HERE / "distorted.png").read_bytes() == before
