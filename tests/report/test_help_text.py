import pytest

from conftest import Command
from digitnet.config.files import Tree
from digitnet.report.help_text import about, overview


@pytest.mark.parametrize("columns", [40, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = command("--help").out
    assert all(len(line) <= columns for line in out.splitlines() if not line.startswith("  digitnet"))
    assert "  lenet5" in out


def test_overview_has_the_commands_and_flags_that_it_is_given() -> None:
    lines = list(overview(Tree.packaged(), 100, {"compare": "Show runs."}, {"--flag FILE": "What it does."}))
    assert any(line.split() == ["compare", "Show", "runs."] for line in lines)
    assert any(line.startswith("  --flag FILE") for line in lines)
    assert sum("(default)" in line for line in lines) >= 8


def test_text_is_below_the_name_on_a_narrow_terminal() -> None:
    lines = list(about("seed", Tree.packaged(), 30))
    assert lines[0] == "  seed=0"
    assert lines[1].startswith("      of weights")
