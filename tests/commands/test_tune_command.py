"""The arguments of `digitnet tune`."""

import pytest

from conftest import Command
from digitnet import cli
from digitnet.errors import ConfigError
from searching import LR


def test_trials_must_be_a_number(command: Command) -> None:
    done = command("tune", LR, "--trials", "many")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: argument --trials: invalid int value: 'many'; see digitnet tune --help\n"


def test_tune_refuses_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29511")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        cli._dispatch(["tune", LR])
    assert str(caught.value) == "digitnet tune does not run under torchrun, which started 2 processes; start it without"
