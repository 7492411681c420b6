"""`digitnet export`: what other programs compute is what PyTorch computes; and mistakes."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from conftest import TINY, Command, summary_in, write
from digitnet import cli
from digitnet.data import load_digits
from digitnet.experiment import export
from digitnet.experiment.trained import open_trained
from digitnet.metrics import predict

pytestmark = pytest.mark.slow
NETWORKS = {
    "lenet5": ["optimizer=adam", "optimizer.lr=0.003"],
    "allconv": ["model=allconv", "optimizer=adam", "optimizer.lr=0.001", "trainer.epochs=1", "trainer.batch_size=128"],
    "lenet5_1998": ["model=lenet5_1998", "optimizer=adam", "optimizer.lr=0.001", "trainer.epochs=1"],
    "fastnet": ["model=fastnet", "optimizer=adam", "optimizer.lr=0.003", "trainer.epochs=1"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    for name, words in NETWORKS.items():
        assert cli.main([*TINY, *words, f"hydra.run.dir={folder / name}"]) == 0
    return folder


def logits(run: Path) -> torch.Tensor:
    return predict(open_trained(run).model, load_digits(enlarge_to=1437).test.images)


def test_onnx_computes_what_the_network_does_in_batches_of_any_size(trained: Path, command: Command) -> None:
    images = load_digits(enlarge_to=1437).test.images.float().div(255).numpy()
    for name in NETWORKS:
        done = command("export", str(trained / name), "--format", "onnx")
        assert (done.code, done.err) == (0, "")
        first, second, third = done.out.splitlines()
        assert first.startswith(f"{name}.onnx: onnx, ")
        assert second.startswith("largest difference from PyTorch on 360 test images: ")
        assert float(second.split()[-1]) <= 1e-4
        assert third == f"test accuracy {100 * summary_in(trained / name)['test']['accuracy']:.2f} %"
        assert [path.name for path in Path().iterdir() if path.name.startswith(name)] == [f"{name}.onnx"]  # one file
        session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
        expected = logits(trained / name).numpy()
        for batch in (1, 7):
            (found,) = session.run(["logits"], {"images": images[:batch]})
            assert np.abs(found - expected[:batch]).max() < 1e-4
        facts = {entry.key: entry.value for entry in onnx.load(f"{name}.onnx").metadata_props}
        assert json.loads(facts["classes"]) == [*"0123456789"]
        assert json.loads(facts["model"])["name"] == name
        assert json.loads(facts["test_accuracy"]) == summary_in(trained / name)["test"]["accuracy"]
        assert {"input", "prepare", "command", "versions", "epoch", "data"} <= facts.keys()
        assert facts["prepare"] == "mnist"


def test_pt2_and_safetensors_are_loaded_by_pytorch_alone(trained: Path, command: Command) -> None:
    images = load_digits(enlarge_to=1437).test.images.float().div(255)
    for name in NETWORKS:
        for form in ("pt2", "safetensors"):
            done = command("export", str(trained / name), "--format", form, "--output", f"mine.{form}", "--force")
            assert (done.code, done.err) == (0, "")
        program = torch.export.load("mine.pt2").module()
        for batch in (1, 7):
            assert torch.allclose(program(images[:batch]), logits(trained / name)[:batch], atol=1e-4)
        weights = load_file("mine.safetensors")
        expected = open_trained(trained / name).model.state_dict()
        assert all(torch.equal(weights[key], value) for key, value in expected.items())
        with safe_open("mine.safetensors", "pt") as file:
            facts = json.loads(file.metadata()["digitnet"])
        assert (facts["model"]["name"], facts["output"], facts["classes"]) == (name, "logits", [*"0123456789"])
        assert Path("mine.safetensors").stat().st_mode & 0o044  # others may read it, as any file


def test_softmax_gives_probabilities(trained: Path, command: Command) -> None:
    images = load_digits(enlarge_to=1437).test.images[:5].float().div(255)
    expected = logits(trained / "lenet5")[:5].softmax(1)
    assert command("export", str(trained / "lenet5"), "--format", "onnx", "--softmax").code == 0
    session = onnxruntime.InferenceSession("lenet5.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"images": images.numpy()})
    assert np.abs(found - expected.numpy()).max() < 1e-5
    assert command("export", str(trained / "lenet5"), "--format", "pt2", "--softmax").code == 0
    assert torch.allclose(torch.export.load("lenet5.pt2").module()(images), expected, atol=1e-5)
    done = command("export", str(trained / "lenet5"), "--format", "safetensors", "--softmax")
    text = "error: --softmax: safetensors holds weights alone, and no computation; leave it out\n"
    assert (done.code, done.err) == (2, text)


def test_run_stays_as_it_is(trained: Path, command: Command) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert command("export", str(trained / "lenet5"), "--format", "safetensors").code == 0
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_outputs_that_differ_are_refused(trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, text in ((1e-3, "0.001"), (float("nan"), "nan")):
        writer = export._WRITERS["pt2"]

        def wrong(*words: object, error: float = error, writer: object = writer) -> object:
            outputs = writer(*words)
            return lambda images: outputs(images) + error

        monkeypatch.setitem(export._WRITERS, "pt2", wrong)
        done = command("export", str(trained / "lenet5"), "--format", "pt2")
        assert done.code == 1
        assert done.err.startswith(f"error: lenet5.pt2: not written: its outputs differ by {text}")
        assert done.err.endswith("from PyTorch's, by more than 0.0001\n")
        assert [*Path().iterdir()] == []
        monkeypatch.setitem(export._WRITERS, "pt2", writer)


def test_existing_and_impossible_outputs_are_refused_before_any_work(trained: Path, command: Command) -> None:
    write(Path("lenet5.onnx"), "mine")
    for words, text in (
        ([], "--output lenet5.onnx: exists; add --force to replace it"),
        (["--output", "a.pt2"], "--output a.pt2: ends in none of .onnx"),
        (["--output", "no/a.onnx"], "--output no/a.onnx: the folder no does not exist; make it first"),
    ):
        done = command("export", str(trained / "lenet5"), "--format", "onnx", *words)
        assert (done.code, done.err) == (2, f"error: {text}\n")
    assert Path("lenet5.onnx").read_text() == "mine"
    done = command("export", "nowhere", "--format", "onnx")
    assert (done.code, done.err) == (2, "error: nowhere: not a folder; give that of a run or of a sweep\n")
    done = command("export", str(trained / "lenet5"))
    assert (done.code, done.err) == (
        2, "error: the following arguments are required: --format; see digitnet export --help\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "package"),
    [("onnx", "onnx"), ("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("safetensors", "safetensors")],
)
def test_missing_package_is_named_with_its_extra(
    trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch, form: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = command("export", str(trained / "lenet5"), "--format", form)
    text = f"error: --format {form}: {package} is not installed; pip install 'digitnet[export]'\n"
    assert (done.code, done.err) == (2, text)


def test_network_that_cannot_be_exported_gives_its_reason(command: Command) -> None:
    write(
        Path("mine.py"),
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.layer = nn.Linear(784, 10)\n\n"
        "    def forward(self, images):\n        logits = self.layer(images.flatten(1))\n"
        "        return logits if float(logits.detach().sum()) < 1e9 else -logits\n",
    )
    assert command(*TINY, "model=custom", "model.target=mine:Net", "trainer.epochs=1", "hydra.run.dir=run").code == 0
    done = command("export", "run", "--format", "pt2")
    assert done.code == 2
    assert done.err.endswith("add --trust\n")
    done = command("export", "run", "--format", "pt2", "--trust")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: the network cannot be exported (")
    assert len(done.err.splitlines()) == 1
    assert not [*Path().glob("*.pt2")]
    assert not [*Path().glob(".unfinished*")]
    assert command("export", "run", "--format", "safetensors", "--trust").code == 0
    done = command("evaluate", "run.safetensors", "data=digits")
    assert done.code == 2
    assert "run.safetensors: its network is mine:Net, which would be imported and run" in done.err
    assert command("evaluate", "run.safetensors", "data=digits", "--trust").code == 0


def test_safetensors_file_is_evaluated_and_starts_a_run(trained: Path, command: Command) -> None:
    assert command("export", str(trained / "lenet5"), "--format", "safetensors").code == 0
    (row,) = json.loads(command("evaluate", "lenet5.safetensors", "--format", "json").out)
    assert (row["accuracy"], row["data"]) == (summary_in(trained / "lenet5")["test"]["accuracy"], "digits")
    words = [*TINY, "optimizer.lr=1e-9", "trainer.epochs=1"]
    assert command(*words, "init_from=lenet5.safetensors", "hydra.run.dir=again").code == 0
    assert summary_in(Path("again"))["test"]["accuracy"] == row["accuracy"]
    done = command(*words, "model=allconv", "init_from=lenet5.safetensors", "hydra.run.dir=other")
    assert done.code == 1
    assert "lenet5.safetensors: saved for lenet5, the config asks for allconv; set model=lenet5" in done.err


def test_damaged_safetensors_files_are_named(trained: Path, command: Command) -> None:
    assert command("export", str(trained / "lenet5"), "--format", "safetensors").code == 0
    content = Path("lenet5.safetensors").read_bytes()
    for bad, text in (
        (content[:1000], "not a readable safetensors file (SafetensorError: "),
        (b"", "not a readable safetensors file ("),
    ):
        Path("bad.safetensors").write_bytes(bad)
        for words in (["evaluate", "bad.safetensors"], [*TINY, "init_from=bad.safetensors", "hydra.run.dir=run"]):
            done = command(*words)
            assert done.code == 1
            assert f"bad.safetensors: {text}" in done.err
            assert len(done.err.splitlines()) <= 4
    save_file({"a": torch.zeros(3)}, "foreign.safetensors")
    done = command("evaluate", "foreign.safetensors")
    text = "foreign.safetensors: not written by digitnet export: it does not say what network it is of"
    assert (done.code, done.err) == (1, f"error: {text}\n")
    facts = {"model": {"name": "lenet5", "dropout": 9.0, "init": "glorot"}, "classes": ["a"]}
    save_file({"a": torch.zeros(3)}, "foreign.safetensors", metadata={"digitnet": json.dumps(facts)})
    done = command("evaluate", "foreign.safetensors")
    assert done.code == 2
    assert "model.dropout" in done.err
    assert len(done.err.splitlines()) <= 4
    done = command("evaluate", "missing.safetensors")
    assert (done.code, done.err) == (1, "error: missing.safetensors: no such file\n")


def test_batch_normalization_is_exported_as_it_evaluates(trained: Path) -> None:
    """Its running statistics are among the weights, and no batch changes them."""
    network = open_trained(trained / "fastnet")
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.model.modules())
    done = export.export_network(network, "onnx", Path("f.onnx"))
    assert done.difference < 1e-4
    shutil.copy("f.onnx", "g.onnx")
    session = onnxruntime.InferenceSession("g.onnx", providers=["CPUExecutionProvider"])
    image = np.full((1, 1, 28, 28), 0.5, np.float32)
    alone = session.run(None, {"images": image})[0]
    together = session.run(None, {"images": np.concatenate([image, np.zeros((6, 1, 28, 28), np.float32)])})[0]
    assert np.abs(alone[0] - together[0]).max() < 1e-5
