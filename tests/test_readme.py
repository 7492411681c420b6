"""Every digitnet command in the README composes, and what it says of the files holds."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import CHECKOUT, TINY, Command, write
from digitnet import cli, commands
from digitnet.config.compose import load_config
from digitnet.config.files import Tree
from digitnet.sweep.plan import plan_sweep

README = (CHECKOUT / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
INLINE = re.findall(r"`(digitnet [^`]+)`", README)
LINES = {line.partition(" #")[0].strip() for line in [*BLOCKS.splitlines(), *INLINE] if line.startswith("digitnet")}
COMMANDS = [shlex.split(line) for line in sorted(LINES)]
YAML = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and a sweep."""
    folder = tmp_path_factory.mktemp("made")
    for arguments in (
        [f"hydra.run.dir={folder}/RUN_DIR"],
        ["-m", "optimizer.lr=0.1,1", f"hydra.sweep.dir={folder}/SWEEP_DIR"],
    ):
        assert cli.main([*TINY, *arguments]) == 0
    return folder


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
def test_commands(
    line: list[str], command: Command, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where completion is installed
    monkeypatch.setenv("SHELL", "/bin/bash")
    arguments = line[1:]
    for word, source in {"RUN_DIR": "RUN_DIR", "outputs": "RUN_DIR", "SWEEP_DIR": "SWEEP_DIR"}.items():
        if word in arguments:
            shutil.copytree(made / source, word)
    if arguments[:1] == ["resume"]:  # where there is no cluster
        arguments = [word.replace("launcher=ray", "launcher=local") for word in arguments]
    if arguments[:1] == ["tune"]:
        arguments += [*TINY, "trainer.epochs=1", "data.validation=300", "--trials=1"]
    if arguments[:1] and (arguments[0] in commands.NAMES or arguments[0].startswith("--")):
        assert command(*arguments).code == 0
    elif "-m" in arguments or any(word.startswith("sweep=") for word in arguments):
        plan = plan_sweep([word for word in arguments if word != "-m"], Tree.at())
        assert len(plan.jobs(plan.covering())) > 1
    else:
        load_config(arguments)


def test_python(command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=RUN_DIR").code == 0
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(block, names)
    assert names["logits"].shape == (1, 10)
    assert len(names["result"].records) == 4


def test_yaml(command: Command) -> None:
    for block in YAML:
        (name,) = re.findall(r"^# (conf/\S+\.yaml): ", block, flags=re.MULTILINE)
        write(Path(name), block)
    config = load_config(["experiment=mine"])
    assert (config.aug.name, config.optimizer.lr, config.trainer.batch_size) == ("distort", 0.01, 64)
    assert command("validate", "--schema-only").code == 0


def test_two_commands_lead_to_the_script() -> None:
    script = (CHECKOUT / "dev").read_text()
    for verb in re.findall(r"^\./dev (\w+)", BLOCKS, flags=re.MULTILINE):
        assert f"\n    {verb})" in script


def test_pictures_and_links_are_there() -> None:
    for target in re.findall(r"\]\(((?!http|#)[^)]+)\)", README):
        assert (CHECKOUT / target).exists(), target


def test_the_tests_that_it_names_are_there() -> None:
    names = re.findall(r"`(test_\w+)`", README)
    assert len(names) >= 20
    sources = "\n".join(path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py"))
    assert [name for name in names if f"\ndef {name}(" not in sources] == []
