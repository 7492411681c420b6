"""Every digitnet command in the README composes, and what it says of the files holds."""

import re
import shlex

import pytest

from conftest import CHECKOUT, TINY, Command
from digitnet.compose import load

README = (CHECKOUT / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
INLINE = re.findall(r"`(digitnet [^`]+)`", README)
COMMANDS = [shlex.split(line, comments=True) for line in [*BLOCKS.splitlines(), *INLINE] if line.startswith("digitnet")]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
def test_commands(line: list[str], command: Command) -> None:
    arguments = line[1:]
    if any(argument.startswith("--") for argument in arguments):
        assert command(*arguments).code == 0
    else:  # of a sweep, the first job
        load([re.sub(r"=([\d.]+),.*", r"=\1", argument) for argument in arguments if argument != "-m"])


def test_the_weights_in_plain_python(command: Command) -> None:
    assert command(*TINY, "trainer.epochs=1", "hydra.run.dir=RUN_DIR").code == 0
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(block, names)
    assert names["logits"].shape == (1, 10)  # type: ignore[attr-defined]


def test_two_commands_lead_to_the_script() -> None:
    script = (CHECKOUT / "dev").read_text()
    for verb in re.findall(r"^\./dev (\w+)", BLOCKS, flags=re.MULTILINE):
        assert f"\n    {verb})" in script


def test_pictures_and_links_are_there() -> None:
    for target in re.findall(r"\]\(((?!http|#)[^)]+)\)", README):
        assert (CHECKOUT / target).exists(), target
