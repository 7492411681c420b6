"""`digitnet.load`: networks and ensembles in Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import digitnet
from conftest import TINY, write
from digitnet import cli
from digitnet.data import load_digits
from digitnet.errors import CheckpointError, ConfigError, DataError
from digitnet.metrics import predict
from digitnet.runs.formats import read_summary
from drawing import SHAPES, draw_ink

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for name, seed in (("a", 0), ("b", 1)):
        words = ["model=fastnet", "optimizer=adam", "optimizer.lr=0.003", f"seed={seed}"]
        assert cli.main([*TINY, *words, f"hydra.run.dir={folder / name}"]) == 0
    return folder


def test_network_has_its_model_configuration_and_classes(trained: Path) -> None:
    network = digitnet.load(trained / "a")
    assert (network.config.model.name, network.classes) == ("fastnet", tuple("0123456789"))
    assert not network.model.training
    test = read_summary(trained / "a" / "summary.json").test
    assert test is not None
    evaluation = network.evaluate()
    assert (evaluation.score.errors, evaluation.score.n) == (test["errors"], test["n"])
    assert network.evaluate(split="train").score.n == 1437
    assert repr(network) == f"LoadedNetwork(fastnet from {trained / 'a'})"
    with pytest.raises(CheckpointError, match="has no checkpoint 'epoch_7'; there is best, last"):
        digitnet.load(trained / "a", checkpoint="epoch_7")


def test_every_kind_of_image_is_predicted(trained: Path) -> None:
    network = digitnet.load(trained / "a")
    images = load_digits(enlarge_to=1437).test.images[:4]
    logits = predict(network.model, images)
    expected = [str(guess) for guess in logits.argmax(1).tolist()]
    for form in (images, images[:, 0], images.float() / 255, images.numpy(), [images[:2], images[2:, 0].numpy()]):
        found = network.predict(form)
        assert [one.predicted for one in found] == expected
        assert found[0].confidence == pytest.approx(float(logits.softmax(1)[0].max()), abs=1e-5)
    assert network.predict(images[0, 0])[0].predicted == expected[0]
    assert network.predict([]) == []
    picture = Image.fromarray((255 - 255 * draw_ink(SHAPES[0][0], (200, 240), (40, 40, 150), 14)).astype(np.uint8))
    picture.save("zero.png")
    on_disk = network.predict("zero.png")
    assert on_disk[0].predicted == "0"
    for form in (Path("zero.png"), picture, picture.convert("RGB"), picture.convert("RGBA"), picture.convert("F")):
        assert network.predict([form, form])[1].confidence == pytest.approx(on_disk[0].confidence, abs=1e-3)


def test_images_that_are_none_are_refused(trained: Path) -> None:
    network = digitnet.load(trained / "a")
    Image.new("L", (50, 50), 255).save("empty.png")
    for image, text in (
        (torch.zeros(3, 28, 27), r"images of the shape \(3, 28, 27\): give \(N, 1, 28, 28\), "),
        (torch.zeros(2, 3, 28, 28), r"images of the shape \(2, 3, 28, 28\)"),
        (torch.full((28, 28), 200.0), r"images of torch\.float32: give uint8, or floats from 0"),
        (torch.zeros(28, 28, dtype=torch.int64), r"images of torch\.int64: give uint8"),
        ("missing.png", r"missing\.png: not a regular file"),
        ("empty.png", r"empty\.png: nothing on it looks like a digit"),
        (Image.new("L", (50, 50), 255), "an image: nothing on it looks like a digit"),
    ):
        with pytest.raises(DataError, match=text):
            network.predict(image)


def test_several_runs_or_a_sweep_are_an_ensemble(trained: Path) -> None:
    images = load_digits(enlarge_to=1437).test.images
    members = [digitnet.load(trained / name) for name in "ab"]
    shutil.copytree(trained, "sweep")
    write(Path("sweep/sweep.json"), json.dumps({"jobs": {}}))
    mean = sum(predict(member.model, images).softmax(1) for member in members) / 2
    for ensemble in (digitnet.load(trained / "a", trained / "b"), digitnet.load("sweep")):
        assert len(ensemble.members) == 2
        found = ensemble.predict(images)
        assert [one.predicted for one in found] == [str(guess) for guess in mean.argmax(1).tolist()]
        assert torch.allclose(predict(ensemble.model, images).exp(), mean, atol=1e-5)
        assert ensemble.evaluate().score.errors == int((mean.argmax(1) != load_digits(1437).test.labels).sum())
    with pytest.raises(ConfigError, match="no run to load"):
        digitnet.load()


def test_members_of_other_classes_or_images_are_refused(trained: Path) -> None:
    for label in ("no", "yes"):
        for number in range(4):
            path = Path(f"mine/{label}/{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((28, 28), 40 * number + (label == "yes"), np.uint8)).save(path)
    words = ["data=folder", "data.root=mine", "trainer.epochs=1", "logger=metrics", "hydra.run.dir=other"]
    assert cli.main(words) == 0
    with pytest.raises(ConfigError, match=r"other: its classes are no, yes, those of .* are 0, 1, 2"):
        digitnet.load(trained / "a", "other")
    assert cli.main([*TINY, "trainer.epochs=1", "data.validation=200", "hydra.run.dir=held"]) == 0
    ensemble = digitnet.load(trained / "a", "held")
    with pytest.raises(DataError, match="the members' train sets have different images"):
        ensemble.evaluate(split="train")
