"""`digitnet validate`: what it composes, what it finds, how it says it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor

from conftest import CHECKOUT, Command, write
from digitnet.config.files import Tree
from digitnet.experiment.validation import all_compositions
from digitnet.models import LeNet5

GLOBAL = "# @package _global_\n"
CLEAN = "configurations, no fault\n"


def test_the_packaged_configurations_are_right(command: Command) -> None:
    done = command("validate")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(CLEAN)


def test_everything_is_composed() -> None:
    """Each option of each group is in a composition of its own, or in the root that all others start from."""
    compositions = {override for _, overrides in all_compositions(Tree.at()) for override in overrides}
    root = {"=".join(default.name.rsplit("/", 1)) for default in Tree.at().read("config").defaults()}
    names = [path.relative_to(CHECKOUT / "conf").with_suffix("") for path in CHECKOUT.glob("conf/*/**/*.yaml")]
    files = {f"{name.parent.as_posix()}={name.name}" for name in names}
    assert len(files) > 25
    assert files - root == compositions


def test_all_faults_are_reported_with_file_and_line(command: Command) -> None:
    write(Path("conf/optimizer/x.yaml"), "defaults: [sgd]\nlr: fast\nmomentun: 0.9\n")
    write(Path("conf/aug/y.yaml"), "defaults: [distort]\nrotation_deg: 400\n")
    write(Path("conf/experiment/z.yaml"), GLOBAL + "defaults:\n  - override /model: lenet6\n")
    write(Path("conf/mine.yaml"), "defaults: [config, _self_]\ntrainer:\n  epochs: 0\n")
    write(Path("conf/optimiser/x.yaml"), "lr: 1\n")
    write(Path("conf/model/broken.yaml"), "a: [\n")
    write(Path("conf/model/net.yml"), "a: 1\n")
    done = command("validate", "--schema-only")
    lines = done.out.splitlines()
    assert lines == [
        "conf/aug/y.yaml:2: aug.rotation_deg=400: should be less than or equal to 180 [aug=y]",
        "conf/experiment/z.yaml:3: defaults: model=lenet6: no such option … did you mean 'lenet5'? There are allconv, "
        "broken, custom, fastnet, lenet5 [experiment=z]",
        "conf/mine.yaml:3: trainer.epochs=0: should be greater than or equal to 1 [--config-name mine]",
        "conf/model/broken.yaml:2: the file is not YAML: expected the node content, but found '<stream end>' "
        "[model=broken]",
        "conf/optimizer/x.yaml:3: no key 'optimizer.momentun' … did you mean 'optimizer.momentum'? [optimizer=x]",
        "conf/optimizer/x.yaml:2: optimizer.lr=fast: should be a valid number [optimizer=x]",
        "conf/model/net.yml: is not looked at: the ending is .yaml",
        "conf/optimiser/x.yaml: no group 'optimiser' … did you mean 'optimizer'?",
    ]
    assert done.code == 2
    assert done.err.startswith("error: 8 faults in ")


def test_a_fault_of_the_root_is_reported_once(command: Command) -> None:
    root = (CHECKOUT / "conf" / "config.yaml").read_text()
    write(Path("conf/config.yaml"), root.replace("batch_size: 32", "batch_size: 0"))
    done = command("validate", "--schema-only")
    (fault,) = done.out.splitlines()
    assert fault.startswith("conf/config.yaml:")
    assert "trainer.batch_size=0: should be greater than or equal to 1" in fault


def test_files_of_others_are_no_faults(command: Command) -> None:
    write(Path("conf/nginx/site.yaml"), "a: 1\n")
    write(Path("conf/app.yaml"), "debug: true\nname: {{ cookiecutter }}\n")
    write(Path("conf/other.yaml"), "debug: true\n")
    write(Path("conf/base.yaml"), "trainer: {epochs: 20}\n")  # taken in by a root
    write(Path("conf/mine.yaml"), "defaults: [config, base, _self_]\n")
    write(Path("conf/trainer/short.yaml"), "epochs: 20\n")
    done = command("validate", "--schema-only")
    none = "is not looked at: it has no defaults, as a root has, and is in the folder of no group"
    groups = "there are aug, data, device, experiment, logger, model, optimizer, schedule, sweep, tracker"
    assert done.out.splitlines() == [
        "conf/app.yaml:2: a key is a word; quote a value that begins with { or [ [--config-name app]",
        f"conf/nginx/site.yaml: warning: no group 'nginx'; {groups}",
        f"conf/other.yaml: warning: {none}",
    ]
    Path("conf/app.yaml").unlink()
    assert command("validate", "--schema-only").code == 0


def test_a_root_that_is_of_something_else(command: Command) -> None:
    write(Path("conf/config.yaml"), "database: mysql\n")
    (fault,) = command("validate", "--schema-only").out.splitlines()
    message = "the file stands for digitnet's root and has no defaults; if it is not digitnet's, rename it"
    assert fault == f"conf/config.yaml:1: {message}"


def test_networks_of_ones_own_are_built_without_training(command: Command, tmp_path: Path) -> None:
    write(
        tmp_path / "nets.py",
        "import torch\n"
        "from torch import nn\n"
        "class Good(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 10))\n"
        "class NeedsNumbers(Good):\n"
        "    def forward(self, images):\n"
        "        return super().forward(images) + images.sum().item()\n"
        "class Short(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(700, 10))\n"
        "class Wide(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, 11))\n",
    )
    for name in ("Good", "NeedsNumbers", "Short", "Wide", "Lost"):
        write(Path(f"conf/model/{name.lower()}.yaml"), f"defaults: [custom]\ntarget: nets:{name}\n")
    done = command("validate")
    lost, short, wide = done.out.splitlines()
    assert lost.startswith("conf/model/lost.yaml:2: model.target=nets:Lost: cannot build it from {} (AttributeError: ")
    assert short.startswith("conf/model/short.yaml:2: model: no forward pass of images (2, 1, 28, 28) (RuntimeError: ")
    assert wide.startswith("conf/model/wide.yaml:2: model: its output has shape (2, 11), not (B, classes) = (2, 10)")
    assert command("validate", "--schema-only").code == 0


def test_building_needs_no_memory(command: Command) -> None:
    """A batch of ten million images passes, as a shape: 31 GB of images, and of maps many times that."""
    assert command("validate", "trainer.batch_size=10000000").code == 0


def test_networks_are_built_on_the_meta_device(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def forward(self: LeNet5, images: Tensor) -> Tensor:
        devices.append((images.device.type, next(self.parameters()).device.type, tuple(images.shape)))
        return self.layers(images)

    monkeypatch.setattr(LeNet5, "forward", forward)
    assert command("validate", "model=lenet5", "trainer.batch_size=7").code == 0
    assert devices == [("meta", "meta", (7, 1, 28, 28))]


def test_one_composition(command: Command) -> None:
    assert command("validate", "model=lenet5", "aug=distort").out == "1 configuration, no fault\n"
    done = command("validate", "model=lenet5", "aug=distort", "aug.shift=2", "optimizer.lr=-1")
    assert done.code == 2
    assert [line.partition(":")[0] for line in done.out.splitlines()] == ["aug.shift=2", "optimizer.lr=-1"]
    assert done.err == "error: 2 faults in 1 configuration\n"


def test_what_can_be_meant_is_a_warning(command: Command) -> None:
    done = command("validate", "--schema-only", "trainer.epochs=30")
    assert done.code == 0
    assert done.out == (
        "warning: trainer.epochs=30 goes on with the last phase's factor, 0.08, after the schedule's 20 epochs "
        "[trainer.epochs=30]\n1 configuration, no fault\n"
    )


def test_json(command: Command) -> None:
    write(Path("conf/aug/y.yaml"), "defaults: [distort]\nrotation_deg: 400\n")
    done = command("validate", "--schema-only", "--format", "json")
    found = json.loads(done.out)
    assert found["checked"] > 20
    assert found["findings"] == [
        {
            "severity": "error",
            "file": str(Path("conf/aug/y.yaml").resolve()),
            "line": 2,
            "key": "aug.rotation_deg",
            "message": "aug.rotation_deg=400: should be less than or equal to 180",
            "composition": "aug=y",
        }
    ]
    assert json.loads(command("validate", "--schema-only", "--format", "json", "seed=1").out) == {
        "checked": 1,
        "findings": [],
    }


def test_github(command: Command) -> None:
    """As the workflow commands want it: % and line ends escaped, in properties also colons and commas."""
    write(Path("a,b/aug/c:d.yaml"), "defaults: [distort]\nrotation_deg: 100%\n")
    done = command("validate", "--schema-only", "--format", "github", "--config-dir", "a,b")
    assert done.out == (
        "::error file=a%2Cb/aug/c%3Ad.yaml,line=2,title=digitnet validate::"
        "aug.rotation_deg=100%25: should be a valid number [aug=c:d]\n"
    )


def test_the_schema_pass_imports_no_torch() -> None:
    code = (
        "import sys; from digitnet.cli import main; "
        "sys.exit(main(['validate', '--schema-only']) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_wrong_arguments(command: Command) -> None:
    wrong = command("validate", "--format", "xml").err  # how the choices are quoted depends on Python's version
    assert wrong.startswith("error: argument --format: invalid choice: 'xml' (choose from ")
    assert wrong.endswith("; see digitnet validate --help\n")
    assert command("validate", "--config-dir", "nowhere").err == "error: --config-dir nowhere: no such folder\n"
    assert command("valdiate").err.endswith("did you mean 'validate'?\n")
    assert command("validate", "--help").out.startswith("usage: digitnet validate [-h] [--format {text,json,github}]")
