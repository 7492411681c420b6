"""What a message advises works: the advice is read from the message and followed."""

import re
import shlex
from pathlib import Path

import pytest

from conftest import TINY, Command, write
from digitnet.experiment import run

pytestmark = pytest.mark.slow

# (the words typed, a pattern for the advice in the message). The first group is typed instead of the words that it has
# the keys of; without a run, as all of these are found before it starts.
BEFORE_A_RUN = [
    ("optimzer.lr=0.1", r"did you mean '(?P<key>[^']+)'"),
    ("optimizer=SGD", r"did you mean '(?P<option>[^']+)'"),
    ("model=lent5", r"did you mean '(?P<option>[^']+)'"),
    ("optimizer.lr==0.1", r"write (\S+)$"),
    ("optimizer.lr=“0.1”", r"write ([^,]+),"),
    ("optimizer.lr=0,1", r"add (-m)"),
    ("optimizer=adam optimizer.betas=0.9,0.99", r"use (\[a,b\])"),
    ("optimizer.nesterov=true", r"set (\S+)$"),
    ("data.root=a(b)c data=mnist", r"quote a value with special characters: (.+)$"),
    ("init_from=a=b", r"quote a value with special characters: (.+)$"),
    ("lr=0.1", r"did you mean '(?P<key>[^']+)'"),
    ("schedule.epochs=3 trainer.epochs=4", r"(leave one out)"),
    ("hydra.sweep.dir=x", r"write (\S+)$"),
    ("-m seed=0,1 hydra.run.dir=x", r"write (\S+)$"),
    ("digits", r"(--help)"),
]


def corrected(words: list[str], match: re.Match[str]) -> list[str]:
    """`words` as the advice says."""
    named = match.groupdict()
    if "key" in named:
        return [f"{named['key']}={words[0].partition('=')[2]}", *words[1:]]
    if "option" in named:
        return [f"{words[0].partition('=')[0]}={named['option']}", *words[1:]]
    advice = match[1]
    if advice == "leave one out":
        return words[1:]
    if advice == "[a,b]":
        key, _, values = words[-1].partition("=")
        return [*words[:-1], f"{key}=[{values}]"]
    (typed,) = shlex.split(advice)
    if "=" not in typed:
        return [typed] if typed == "--help" else [typed, *words]
    key = typed.partition("=")[0]
    kept = [
        word for word in words if word.lstrip("+").partition("=")[0] not in (key, "hydra.sweep.dir", "hydra.run.dir")
    ]
    return [*kept, typed]


@pytest.mark.parametrize(("typed", "pattern"), BEFORE_A_RUN, ids=[row[0] for row in BEFORE_A_RUN])
def test_followed_advice_leads_on(command: Command, monkeypatch: pytest.MonkeyPatch, typed: str, pattern: str) -> None:
    monkeypatch.setattr(run, "run_experiment", lambda *_, **__: None)
    words = typed.split()
    wrong = command(*words)
    assert wrong.code == 2
    match = re.search(pattern, wrong.err.strip(), re.MULTILINE)
    assert match is not None, wrong.err
    better = [*corrected(words, match), *(["--dry-run"] if "-m" in match.group() or words[0] == "-m" else [])]
    done = command(*better)
    if "optimizer.lr=0,1" in words:  # it had two faults, and the second is told now
        assert done.err == "error: optimizer.lr=0: should be greater than 0\n"
        return
    assert (done.code, done.err) == (0, ""), better


def test_search_in_the_logarithm_is_written_as_advised(command: Command) -> None:
    pytest.importorskip("optuna")
    for function in ("log", "loguniform"):
        wrong = command("tune", f"optimizer.lr={function}(0.01,0.1)", *TINY, "--trials", "1")
        advice = wrong.err.strip().rpartition("write ")[2]
        words = [*shlex.split(advice), *TINY, "trainer.epochs=1", "data.validation=300", "--trials", "1"]
        done = command("tune", *words, f"hydra.sweep.dir={function}")
        assert (done.code, done.err) == (0, "")


def test_advice_of_a_run_that_failed_is_right(command: Command) -> None:
    for number in range(6):
        write(Path(f"images/yes/{number}.png"), "")
        write(Path(f"images/no/{number}.png"), "")
    followed = {
        "optimizer.lr": command(*TINY, "optimizer.lr=1e30", "hydra.run.dir=a"),
        "data.validation": command(*TINY, "data.validation=10000"),
        "data.enlarge_to": command(*TINY, "data.enlarge_to=100"),
    }
    assert "lower optimizer.lr" in followed["optimizer.lr"].err
    assert command(*TINY, "optimizer.lr=0.1", "hydra.run.dir=b").code == 0
    images = re.search(r"has only (\d+) images; hold out fewer", followed["data.validation"].err)
    assert images is not None
    assert command(*TINY, f"data.validation={int(images[1]) - 100}", "trainer.epochs=1").code == 0
    least = re.search(r"has (\d+) images already", followed["data.enlarge_to"].err)
    assert least is not None
    assert command(*TINY, f"data.enlarge_to={least[1]}", "trainer.epochs=1").code == 0
    cores = re.search(r"this machine has (\d+) cores?$", command(*TINY, "trainer.threads=1000").err.strip())
    assert cores is not None
    assert command(*TINY, f"trainer.threads={cores[1]}", "trainer.epochs=1").code == 0
