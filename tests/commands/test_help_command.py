"""`digitnet --help`: everything that can be chosen, with what it is, at once and as wide as the terminal."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT, Command, write
from digitnet import commands
from digitnet.config.yaml_file import read_yaml
from digitnet.report.help_text import EXAMPLES

FILES = sorted([*CHECKOUT.glob("conf/*/*.yaml"), *CHECKOUT.glob("conf/hydra/launcher/*.yaml")])


def test_help_lists_every_option_with_its_description(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = re.sub(r"\s+", " ", command("--help").out)
    assert len(FILES) > 25
    for path in FILES:
        assert f" {path.stem} {read_yaml(path, f'{path.parent.name}/{path.stem}').description}" in text, path
    for name in commands.NAMES:
        assert f" {name} {commands.command_summary(name)}" in text
    for example, meaning in EXAMPLES.items():
        assert f" {example} {meaning}" in text
    for key in (
        "trainer.epochs=null",
        "trainer.batch_size=32",
        "seed=0",
        "--multirun",
        "--config-dir FOLDER",
        "--cfg job|hydra|all",
    ):
        assert f" {key} " in text
    assert len(EXAMPLES) >= 3


def test_help_lists_own_options(command: Command) -> None:
    write(Path("conf/model/mine.yaml"), "# My net.\ndefaults: [lenet5]\n")
    write(Path("more/aug/strong.yaml"), "# Much of it.\ndefaults: [distort]\n")
    write(Path("conf/aug/broken.yaml"), "a: [")
    out = command("--help", "--config-dir", "more").out
    assert re.search(r"^  mine +My net\.$", out, flags=re.MULTILINE)
    assert re.search(r"^  strong +Much of it\.$", out, flags=re.MULTILINE)
    assert re.search(r"^  broken +the file is not YAML", out, flags=re.MULTILINE)


@pytest.mark.parametrize("name", commands.NAMES)
def test_every_command_has_help_of_its_own(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: digitnet {name}")
    assert commands.command_summary(name) in done.out


def test_help_is_the_same_three_times(command: Command) -> None:
    assert command("--help").out == command("-h").out == command("help").out


LIGHT = [["--help"], ["--version"], ["--cfg", "job"], ["--info"], ["help"], ["modle=lenet5"], ["aug.shift=2"]]
LIGHT += [["completion", "query", "digitnet optimizer."], ["validate", "--help"], ["optimizer.lr=x"]]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_quick_commands_import_no_torch(arguments: list[str]) -> None:
    code = f"import sys; from digitnet.cli import main; main({arguments}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_import_digitnet_imports_no_torch() -> None:
    code = "import sys, digitnet; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_help_on_a_group_shows_keys_values_meaning_and_choices(command: Command) -> None:
    out = command("help", "aug").out
    assert "aug=none: Undistorted images.\n" in out
    assert re.search(r"^  aug\.shift=0\.1 +fraction of the width and of the height$", out, flags=re.MULTILINE)
    out = command("help", "optimizer=sgd").out
    assert re.search(r"^  optimizer\.nesterov=false .*one of false, true$", out, flags=re.MULTILINE | re.DOTALL)
    assert "adam" not in out
    out = command("help", "schedule=step12").out
    assert "schedule.phases=[{epochs: 6, factor: 1}" in out
    out = command("help", "experiment=allconv").out
    assert "  optimizer=rmsprop\n" in out
    assert "  trainer.batch_size=128\n" in out
    assert command("help", "validate").out == command("validate", "--help").out


def test_help_on_a_section_or_a_key_shows_what_the_root_says(command: Command) -> None:
    out = command("help", "trainer").out
    assert re.search(r"^  trainer\.batch_size=32 +images per step$", out, flags=re.MULTILINE)
    assert "one of bf16, fp32" in re.sub(r"\s+", " ", out)
    assert "checkpoint" not in out
    assert "  checkpoint.every_epochs=1 " in command("help", "checkpoint").out
    assert command("help", "seed").out == "  seed=0  of weights, permutations, distortions and dropout\n"
    assert command("help", "init_from").out.startswith("  init_from=null  the folder of another run, or a checkpoint,")
    assert "tracker=none: No tracker, only the run's own files.\n" in command("help", "tracker").out
    assert "  tracker.mlflow.experiment=digitnet  made if it does not exist\n" in command("help", "tracker=mlflow").out
    assert "tracker.wandb.mode=null" in command("help", "tracker.wandb.mode").out


def test_help_knows_every_word_that_it_shows(command: Command) -> None:
    assert "  optimizer.lr=1  the step size, before the schedule\n" in command("help", "lr").out
    assert command("help", "adam").out == command("help", "optimizer=adam").out
    assert command("help", "trainer.batch_size").out == "  trainer.batch_size=32  images per step\n"


def test_help_on_an_unknown_topic_offers_the_nearest(command: Command) -> None:
    assert command("help", "optimiser").err == "error: no help on 'optimiser' … did you mean 'optimizer'?\n"
    assert command("help", "Adam").err == "error: no help on 'Adam' … did you mean 'adam' or 'adamw'?\n"
    there_are = "'optimizer.momentum' or 'sgd_momentum'"
    assert command("help", "momentun").err == f"error: no help on 'momentun' … did you mean {there_are}?\n"
    assert command("help", "xyz").err.startswith(
        "error: no help on 'xyz'; there is help on clean, compare, completion, "
    )
    assert command("help", "aug=distrot").err.startswith(
        "error: aug=distrot: no such option … did you mean 'distort' or 'distort1998'?"
    )
