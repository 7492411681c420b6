"""Tab completion: what is offered."""

from pathlib import Path

import pytest

from conftest import Command, write
from digitnet.commands.completion_command import candidates
from digitnet.config.candidates import inserted_by_bash
from digitnet.report.shell_completion import SCRIPTS


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("digitnet mod", ["model.", "model="]),
        (
            "digitnet model=",
            [
                "model=allconv",
                "model=custom",
                "model=fastnet",
                "model=lenet5",
                "model=lenet5_1998",
                "model=lenet5_no_dropout",
            ],
        ),
        ("digitnet model=le", ["model=lenet5", "model=lenet5_1998", "model=lenet5_no_dropout"]),
        ("digitnet aug=distort aug.w", ["aug.warmup_epochs="]),  # of the option that is chosen
        ("digitnet aug.w", []),
        ("digitnet experiment=allconv optimizer.a", ["optimizer.alpha="]),
        ("digitnet optimizer=adam optimizer.", ["optimizer.betas=", "optimizer.eps=", "optimizer.lr="]),
        ("digitnet tr", ["tracker.", "tracker=", "trainer."]),
        ("digitnet trainer.precision=", ["trainer.precision=bf16", "trainer.precision=fp32"]),
        ("digitnet optimizer.nesterov=", ["optimizer.nesterov=false", "optimizer.nesterov=true"]),
        ("digitnet trainer.threads=", ["trainer.threads=null"]),
        ("digitnet -m model=lenet5,al", ["model=lenet5,allconv"]),
        ("digitnet val", ["validate"]),
        ("digitnet seed=1 val", []),  # a command comes first
        ("digitnet validate --f", ["--format"]),
        ("digitnet validate --format ", ["github", "json", "junit", "sarif", "text"]),
        ("digitnet validate model=le", ["model=lenet5", "model=lenet5_1998", "model=lenet5_no_dropout"]),
        ("digitnet --cfg ", ["all", "hydra", "job"]),
        ("digitnet --mu", ["--multirun"]),
        ("digitnet --config-dir co", ["conf/"]),
        ("digitnet init_from=conf/o", ["init_from=conf/optimizer/"]),
        ("digitnet optimizer=sl", ["optimizer=slow"]),
        ("digitnet --config-dir more optimizer=q", ["optimizer=quick"]),
        ("digitnet -m seed=1,2 optimizer=adam,sgd optimizer.b", ["optimizer.betas="]),
        ("digitnet optimizer=nope seed=x trainer.b", ["trainer.batch_size="]),
        ("digitnet +se", ["+seed="]),
        ("digitnet completion ", ["bash", "fish", "install", "zsh"]),
        ("digitnet resume co", ["conf/"]),
        ("digitnet resume --trust more/", ["more/optimizer/"]),
        ("digitnet compare co", ["conf/"]),
        ("digitnet tune optimizer=ad", ["optimizer=adam", "optimizer=adamw"]),
        ("digitnet -m hydra/launcher=s", ["hydra/launcher=serial", "hydra/launcher=slurm"]),
        ("digitnet resume here tr", ["tracker.", "tracker=", "trainer."]),
        ("digitnet resume here trainer.e", ["trainer.early_stop=", "trainer.epochs="]),
        ("digitnet resume here optimizer.l", []),  # cannot be changed
        (
            "digitnet help sched",
            [
                "schedule",
                "schedule.decay_fraction",
                "schedule.epochs",
                "schedule.final_factor",
                "schedule.phases",
                "schedule.start_factor",
                "schedule.warmup_fraction",
            ],
        ),
        ("digitnet help lenet5_d", ["lenet5_distort"]),
        ("digitnet help optimizer=sl", ["optimizer=slow"]),
        ("digitnet compare outputs --group-by momen", ["momentum"]),
        ("digitnet compare outputs --group-by data,see", ["data,seed"]),
        ("digitnet compare outputs --group-by optimizer.al", ["optimizer.alpha"]),
        ("digitnet compare outputs --plot co", ["conf/"]),
        ("digitnet modle=", []),
        ("digitnet 'broken mod", []),
        ("digitnet", []),
    ],
)
def test_candidates(line: str, words: list[str]) -> None:
    write(Path("conf/optimizer/slow.yaml"), "defaults: [sgd]\nlr: 0.001\n")
    write(Path("more/optimizer/quick.yaml"), "defaults: [sgd]\nlr: 1\n")
    found = candidates(line)
    if line == "digitnet optimizer=adam optimizer.":
        assert set(words) <= set(found)
    elif line != "digitnet":
        assert found == words
    assert all("\n" not in word for word in found)


def test_commands_groups_and_keys_are_offered_at_the_start() -> None:
    assert {"validate", "model=", "experiment=", "seed=", "trainer.", "aug."} <= set(candidates("digitnet "))


def test_broken_config_completes_without_traceback(command: Command) -> None:
    write(Path("conf/config.yaml"), "defaults: [")
    done = command("completion", "query", "digitnet tr")
    assert (done.code, done.err) == (0, "")


def test_scripts_are_printed(command: Command) -> None:
    for shell, script in SCRIPTS.items():
        assert command("completion", shell).out == script


def test_unknown_shells_are_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert command("completion", "install").err == (
        "error: no completion for the shell 'tcsh'; write digitnet completion install bash, zsh or fish\n"
    )
    assert command("completion", "tcsh").err.startswith("error: argument install|bash|zsh|fish: invalid choice: 'tcsh'")
    assert command("completion", "bash", "zsh").err.startswith("error: 'zsh': bash takes no argument")


@pytest.mark.parametrize(
    ("line", "breaks", "words"),
    [
        ("digitnet data.root=my", "=:", [r"my\ runs/", r"my\*/"]),
        ("digitnet data.root=my", "", [r"data.root=my\ runs/", r"data.root=my\*/"]),
        (r"digitnet data.root=my\ r", "=:", [r"my\ runs/"]),
        ('digitnet data.root="my r', "=:", ["my runs/"]),
        ("digitnet compare 'my ", "=:", ["my runs/"]),
        (r"digitnet compare my\ runs/ my", "=:", [r"my\ runs/", r"my\*/"]),
        ("digitnet model=le", "=:", ["lenet5", "lenet5_1998", "lenet5_no_dropout"]),
    ],
)
def test_candidates_for_bash_are_quoted(
    monkeypatch: pytest.MonkeyPatch, line: str, breaks: str, words: list[str]
) -> None:
    for name in ("my runs", "my*"):
        Path(name).mkdir()
    monkeypatch.setenv("COMP_WORDBREAKS", f" \t{breaks}")
    assert inserted_by_bash(candidates(line), line) == sorted(words, key=lambda word: word.replace("\\", ""))
