"""Validation: what is composed and built, which files are not used, and what is reported."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import DictConfig
from torch import Tensor

from conftest import CHECKOUT, TINY, Command, write
from digitnet.config import hydra_adapter
from digitnet.config.files import Tree
from digitnet.experiment.validation import all_compositions, validate
from digitnet.models import LeNet5
from digitnet.report import terminal
from digitnet.sweep.plan import plan_sweep

pytestmark = pytest.mark.slow


def test_every_option_is_in_a_composition() -> None:
    """Each option of each group is in a composition of its own, or in the root that all others start from."""
    compositions = {override for _, overrides in all_compositions(Tree.at()) for override in overrides}
    root = {"=".join(default.name.rsplit("/", 1)) for default in Tree.at().read("config").defaults()}
    names = [path.relative_to(CHECKOUT / "conf").with_suffix("") for path in CHECKOUT.glob("conf/*/**/*.yaml")]
    files = {f"{name.parent.as_posix()}={name.name}" for name in names}
    assert len(files) > 25
    assert files - root == compositions


def test_files_of_other_programs_are_no_faults(command: Command) -> None:
    write(Path("conf/nginx/site.yaml"), "a: 1\n")
    write(Path("conf/app.yaml"), "debug: true\nname: {{ cookiecutter }}\n")
    write(Path("conf/other.yaml"), "debug: true\n")
    write(Path("conf/base.yaml"), "trainer: {epochs: 20}\n")  # taken in by a root
    write(Path("conf/mine.yaml"), "defaults: [config, base, _self_]\n")
    write(Path("conf/trainer/short.yaml"), "epochs: 20\n")
    done = command("validate", "--schema-only")
    none = "is ignored: it has no defaults, as a root has, and is not in the folder of a group"
    groups = "there are aug, data, debug, device, experiment, logger, loss, model, optimizer, schedule, sweep, tracker"
    assert done.out.splitlines() == [
        "conf/app.yaml:2: a key must be a word; quote a value that begins with { or [ [--config-name app]",
        f"conf/nginx/site.yaml: warning: no group 'nginx'; {groups}",
        f"conf/other.yaml: warning: {none}",
    ]


def test_root_of_another_program_is_one_fault(command: Command) -> None:
    write(Path("conf/config.yaml"), "database: mysql\n")
    (fault,) = command("validate", "--schema-only").out.splitlines()
    message = "the file replaces digitnet's root and has no defaults; if it is not for digitnet, rename it"
    assert fault == f"conf/config.yaml:1: {message}"


def test_own_networks_are_built_without_training(command: Command, tmp_path: Path) -> None:
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
    assert command("validate", "--schema-only", "model=lost").code == 0


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


def test_fault_of_the_root_is_reported_once(command: Command) -> None:
    root = (CHECKOUT / "conf" / "config.yaml").read_text()
    write(Path("conf/config.yaml"), root.replace("batch_size: 32", "batch_size: 0"))
    done = command("validate", "--schema-only")
    (fault,) = done.out.splitlines()
    assert fault.startswith("conf/config.yaml:")
    assert "trainer.batch_size=0: should be greater than or equal to 1" in fault


@pytest.mark.parametrize(
    ("before", "after"),
    [("  - model: lenet5", "  - model: ${x}"), ("  - model: lenet5", "  - model: lenet5\n  - model: allconv")],
)
def test_root_that_cannot_be_composed_is_one_fault(monkeypatch: pytest.MonkeyPatch, before: str, after: str) -> None:
    """Composed once, not for each option again; faults in the files of the options are found all the same."""
    root = (CHECKOUT / "conf" / "config.yaml").read_text()
    write(Path("conf/config.yaml"), root.replace(before, after))
    write(Path("conf/aug/x.yaml"), "defaults: [distrot]\n")
    composed: list[Sequence[str]] = []
    compose = hydra_adapter.compose_config

    def counting(root: str, overrides: Sequence[str], with_hydra: bool = True) -> DictConfig:
        composed.append(overrides)
        return compose(root, overrides, with_hydra)

    monkeypatch.setattr("digitnet.config.compose.compose_config", counting)
    found = validate(Tree.at(), schema_only=True)
    assert found.errors == 2
    assert "aug=distrot: no such option" in found.findings[1].fault.message
    assert len(composed) <= 3


def test_octal_numbers_are_warned_of(command: Command) -> None:
    write(Path("conf/experiment/x.yaml"), "# @package _global_\nseed: 010\n")
    warning = "seed: 010 is 8 in YAML, as 0 in front means octal; write 8 or 10"
    for more in ([], ["experiment=x"]):
        done = command("validate", "--schema-only", *more)
        assert (done.code, done.out.splitlines()[0]) == (0, f"conf/experiment/x.yaml:2: warning: {warning}")
    assert f"warning: {warning} (conf/experiment/x.yaml:2)\n" in command(*TINY, "trainer.epochs=1", "experiment=x").out
    sweep = plan_sweep(["experiment=x", "seed=1,2"], Tree.at())
    assert sweep.request.warnings == (f"{warning} (conf/experiment/x.yaml:2)",)


def test_root_of_an_earlier_version_has_no_faults(command: Command) -> None:
    root = (CHECKOUT / "conf" / "config.yaml").read_text()
    write(Path("conf/config.yaml"), root.replace("  - tracker: none\n", ""))
    assert command("validate", "--schema-only").code == 0


def test_schema_only_imports_no_torch() -> None:
    code = (
        "import sys; from digitnet.cli import main; "
        "sys.exit(main(['validate', '--schema-only', 'sweep=lr']) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_validate_returns_what_it_finds() -> None:
    write(Path("conf/aug/y.yaml"), "defaults: [distort]\nrotation_deg: 400\n")
    done = validate(Tree.at(), ["aug=y"], schema_only=True)
    (finding,) = done.findings
    assert (done.compositions, done.errors) == (["aug=y"], 1)
    assert (finding.severity, finding.composition, finding.fault.line) == ("error", "aug=y", 2)
    assert validate(Tree.at(), ["seed=1"], schema_only=True).findings == []


def test_every_value_of_a_sweep_is_checked() -> None:
    params = "hydra: {sweeper: {params: {optimizer.lr: '0.1,1,-1', seed: '0,-1'}}}\n"
    write(Path("conf/sweep/mine.yaml"), "# @package _global_\n# Mine.\n" + params)
    done = validate(Tree.at(), ["sweep=mine"], schema_only=True)
    assert sorted((finding.fault.message, finding.fault.line) for finding in done.findings) == [
        ("optimizer.lr=-1: should be greater than 0", 3),
        ("seed=-1: should be greater than or equal to 0", 3),
    ]


PLAIN = "# Mine.\noptimizer.lr: {lr}\nmodel: {model}\ntrainer.epochs: [3, {epochs}]\n"


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        ({"lr": "0.1,1"}, {}),
        ({"lr": "0.1,-1"}, {"optimizer.lr=-1: should be greater than 0": 2}),
        (
            {"lr": "0.1,-1", "model": "lenet5,lenet6", "epochs": 0},
            {
                "optimizer.lr=-1: should be greater than 0": 2,
                "model=lenet6: no such option … did you mean 'lenet5'? "
                "There are allconv, custom, fastnet, lenet5, lenet5_1998, lenet5_no_dropout": 3,
                "trainer.epochs=0: should be greater than or equal to 1": 4,
            },
        ),
        (
            {"lr": "0.1,,1", "model": "range("},
            {
                "optimizer.lr=0.1,,1: cannot be read; "
                "quote a value with special characters: 'optimizer.lr=\"0.1,,1\"'": 2,
                "model=range(: cannot be read; a bracket is not closed": 3,
            },
        ),
    ],
)
def test_all_faults_of_a_sweep_preset_have_their_lines(values: dict[str, object], faults: dict[str, int]) -> None:
    path = Path("conf/sweep/mine.yaml").resolve()
    write(path, PLAIN.format(**({"model": "lenet5", "epochs": 4} | values)))
    done = validate(Tree.at(), ["sweep=mine"], schema_only=True)
    errors = [finding.fault for finding in done.findings if finding.severity == "error"]
    assert {fault.message.replace("\n", " "): fault.line for fault in errors} == faults
    assert {fault.file for fault in errors} <= {path}


def test_preset_of_a_search_is_checked_at_the_ends_of_its_intervals() -> None:
    path = Path("conf/sweep/mine.yaml").resolve()
    write(path, "optimizer.lr: tag(log,interval(0.01,3))\nmodel.dropout: interval(0,1)\nseed: interval(3,1)\n")
    found = [(f.fault.message, f.fault.line) for f in validate(Tree.at(), ["sweep=mine"], schema_only=True).findings]
    assert found == [("seed=interval(3,1): an interval must go from low to high", 3)]
    write(path, "optimizer.lr: tag(log,interval(0.01,3))\nmodel.dropout: interval(0,1)\n")
    (finding,) = validate(Tree.at(), ["sweep=mine"], schema_only=True).findings
    assert (finding.fault.message, finding.fault.line) == ("model.dropout=1: should be less than 1", 2)
    write(path, "optimizer.lr: tag(log,interval(0.01,3))\nmodel.dropout: interval(0,0.9)\n")
    assert validate(Tree.at(), ["sweep=mine"], schema_only=True).findings == []


def test_interpolation_in_a_sweep_preset_is_refused() -> None:
    write(Path("conf/sweep/mine.yaml"), "seed: 1,2\noptimizer:\n  lr: ${seed}\n")
    (finding,) = validate(Tree.at(), ["sweep=mine"], schema_only=True).findings
    message = "optimizer.lr=${seed}: a sweep preset lists values; an interpolation is none"
    assert (finding.fault.message, finding.fault.line) == (message, 3)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        (
            "seed: 0,1\noptimizer.lr: 0.1,1\noptimizer:\n  lr: 2,3\n",
            "optimizer.lr: stands twice in the sweep preset; leave one out",
            4,
        ),
        ("seed: 0,1\nsweep: lr\n", "sweep: a sweep preset lists values, and chooses no other preset", 2),
    ],
)
def test_what_a_sweep_preset_would_drop_is_refused(text: str, message: str, line: int) -> None:
    write(Path("conf/sweep/mine.yaml"), text)
    (finding,) = validate(Tree.at(), ["sweep=mine"], schema_only=True).findings
    assert (finding.fault.message, finding.fault.line) == (message, line)


def test_misspelt_keys_of_a_sweep_preset_are_all_reported() -> None:
    write(Path("conf/sweep/mine.yaml"), "optimzer.lr: 0.1,1\nseeds: 0,1\n")
    done = validate(Tree.at(), ["sweep=mine"], schema_only=True)
    assert [(finding.fault.message.partition(" …")[0], finding.fault.line) for finding in done.findings] == [
        ("no key 'optimzer.lr'", 1),
        ("no key 'seeds'", 2),
    ]


def test_values_behind_a_wrong_default_of_a_preset_are_checked() -> None:
    text = "# @package _global_\ndefaults:\n  - override /optimizer: adm\noptimizer: {nonesuch: 1}\n"
    write(Path("conf/experiment/mine.yaml"), text + "trainer:\n  epochs: 0\n  batchsize: 3\nseeds: 3\n")
    done = validate(Tree.at(), ["experiment=mine"], schema_only=True)
    assert [(finding.fault.message.partition(" …")[0], finding.fault.line) for finding in done.findings] == [
        ("defaults: optimizer=adm: no such option", 3),
        ("trainer.epochs=0: should be greater than or equal to 1", 6),
        ("no key 'trainer.batchsize'", 7),
        ("no key 'seeds'", 8),
    ]


def test_progress_is_told_after_some_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "WORKING_SECONDS", 0.0)
    validate(Tree.at(), ["aug=distort"], schema_only=True)
    assert capsys.readouterr().err == ""  # a log of CI has the findings alone
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    validate(Tree.at(), ["aug=distort"], schema_only=True)
    assert capsys.readouterr().err.startswith("checking configuration 0 of 1; ? left\r")
