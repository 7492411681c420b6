"""A sweep's plan: what is refused, presets, names of jobs."""

from pathlib import Path

import pytest

from conftest import Command, write
from digitnet.config.files import Tree
from digitnet.config.launcher_schema import LocalLauncherConfig
from digitnet.config.sweep_space import SweepRequest
from digitnet.errors import ConfigError
from digitnet.report import terminal
from digitnet.sweep import plan
from digitnet.sweep.plan import plan_sweep


@pytest.mark.parametrize(
    ("overrides", "answer"),
    [
        (
            ["optimizer.lr=0.1,abc,-2", "seed=0,x"],
            "seed=x: should be a valid integer\n"
            "optimizer.lr=abc: should be a valid number\n"
            "optimizer.lr=-2: should be greater than 0",
        ),
        (["model=lenet5,lenet"], "model=lenet: no such option … did you mean 'lenet5' or 'lenet5_1998'? There are *"),
        (
            ["optimizer=sgd,adam", "optimizer.momentum=0,0.9"],
            "no key 'optimizer.momentum'; it belongs to optimizer=sgd and optimizer=rmsprop",
        ),
        (
            ["optimizer.nesterov=true", "optimizer.momentum=0,0.9"],
            "optimizer.nesterov=true needs a momentum; *",
        ),
        (["optimizer.lrr=1,2"], "no key 'optimizer.lrr' … did you mean 'optimizer.lr'?"),
        (["seed=range(0)"], "seed=range(0): has no values"),
        (
            ["optimizer.lr=interval(0.1,1)"],
            "optimizer.lr=interval(0.1,1): a sweep takes single values; digitnet tune searches intervals",
        ),
        (
            ["seed=0,1", "hydra.sweep.subdir=x"],
            "hydra.sweep.subdir=x: a job's folder is named by what differs; leave it out",
        ),
        (["seed=0,1", "hydra.run.dir=x"], "hydra.run.dir=x: is of a single run; for a sweep, write hydra.sweep.dir=x"),
        (["seed=0,1", "hydra.verbose=true"], "hydra.verbose: digitnet writes no log of that kind; *"),
        (
            ["seed=0,1", "hydra.job.name=x"],
            "hydra.job.name=x: names nothing in digitnet; for the run's folder, write hydra.run.dir=FOLDER",
        ),
        (
            ["data.validation=test,'test'"],
            "1,validation=test: the same configuration as 0,validation=test; leave one of them out",
        ),
        (["seed=0,1", "hydra/launcher=joblib"], "hydra/launcher=joblib: no such option; there are *"),
        (["seed=0,1", "hydra/launcher=basic", "hydra.launcher.jobs=2"], "no key 'hydra.launcher.jobs'*"),
        (["seed=0,1", "hydra.launcher.jobs=0"], "hydra.launcher.jobs=0: should be greater than or equal to 1"),
        (
            ["seed=0,1", "hydra/launcher=local", "hydra.launcher.thread=2"],
            "no key 'hydra.launcher.thread' … did you mean 'hydra.launcher.threads'?",
        ),
        (
            ["seed=0,1", "hydra/launcher=slurm", "hydra.launcher.partition='a b; rm'"],
            "hydra.launcher.partition=a b; rm: string should match pattern *",
        ),
        (
            ["seed=0,1", "hydra.sweeper.max_batch_size=3"],
            "hydra.sweeper.max_batch_size: hydra.launcher.jobs says how many run at a time",
        ),
        (["sweep=lrs"], "sweep=lrs: no such option … did you mean 'lr'? There are allconv_best, *"),
        (
            ["seed=0,1", "hydra/launcher=ray", "hydra.launcher.address=nowhere"],
            "hydra.launcher.address=nowhere: is not HOST:PORT, nor auto",
        ),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_invalid_sweep_is_reported_before_the_first_job(command: Command, overrides: list[str], answer: str) -> None:
    done = command("-m", "data=digits", *overrides)
    assert done.code == 2
    start, star, _ = f"error: {answer}\n".partition("*")
    assert done.err.startswith(start)
    assert star or done.err == start
    assert not list(Path("outputs").glob("sweeps/*"))


def test_folder_of_another_sweep_is_refused(command: Command) -> None:
    write(Path("sweep/sweep.json"), "{}")
    done = command("-m", "data=digits", "hydra.sweep.dir=sweep", "seed=0,1")
    assert (done.code, done.err) == (
        2,
        "error: sweep: holds a run already, and runs never share a folder; choose another\n",
    )
    assert Path("sweep/sweep.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("preset", "jobs", "first"),
    [
        ("lr", 18, ["optimizer.lr=0.01", "seed=0"]),
        ("models", 18, ["model=lenet5", "aug=none", "seed=0"]),
        ("seeds", 10, ["seed=0"]),
        (
            "fast995",
            9,
            [
                *("model=fastnet", "aug=distort_light", "optimizer=adam", "schedule=onecycle"),
                *("trainer.batch_size=100", "optimizer.lr=0.003", "trainer.epochs=8"),
            ],
        ),
        (
            "allconv_best",
            6,
            [
                *("model=allconv", "aug=distort_medium", "loss=label_smoothing", "optimizer=sgd_momentum"),
                *("schedule=onecycle", "optimizer.lr=0.05", "optimizer.weight_decay=0.0002", "trainer.epochs=12"),
                *("trainer.batch_size=128", "trainer.precision=bf16"),
            ],
        ),
    ],
)
def test_packaged_presets_compose(preset: str, jobs: int, first: list[str]) -> None:
    planned = plan_sweep([f"sweep={preset}"], Tree.at())
    combinations = planned.request.combinations()
    assert len(combinations) == jobs
    assert combinations[0] == [*first, f"sweep={preset}"]
    found = planned.jobs(planned.request.covering())
    assert {value for job in found for value in job.overrides} == {value for words in combinations for value in words}


def test_validate_checks_every_value_of_a_preset(command: Command) -> None:
    write(
        Path("conf/sweep/mine.yaml"),
        "# @package _global_\n# Mine.\nhydra: {sweeper: {params: {optimizer.lr: '0.1,1,-1', seed: '0,1'}}}\n",
    )
    done = command("validate", "--schema-only", "sweep=mine")
    fault = "optimizer.lr=-1: should be greater than 0"
    assert (done.code, done.out) == (2, f"conf/sweep/mine.yaml:3: {fault} [sweep=mine]\n")
    done = command("sweep=mine")
    assert (done.code, done.err) == (2, f"error: {fault} (conf/sweep/mine.yaml:3)\n")
    done = command("sweep=mine", "optimizer.lr=-2,1")  # typed values are not the file's
    assert (done.code, done.err) == (2, "error: optimizer.lr=-2: should be greater than 0\n")


def test_plain_preset_sweeps_what_its_keys_list() -> None:
    write(
        Path("conf/sweep/mine.yaml"),
        "# Mine.\naug: distort\noptimizer: {lr: [0.1, 1]}\nseed: 0,1\n",
    )
    planned = plan_sweep(["sweep=mine", "hydra.sweep.dir=s"], Tree.at())
    jobs = planned.jobs(planned.request.combinations())
    assert [job.name for job in jobs] == ["lr=0.1,seed=0", "lr=0.1,seed=1", "lr=1,seed=0", "lr=1,seed=1"]
    assert [(job.config["optimizer"]["lr"], job.config["seed"], job.config["aug"]["name"]) for job in jobs] == [
        *[(0.1, 0, "distort"), (0.1, 1, "distort"), (1.0, 0, "distort"), (1.0, 1, "distort")]
    ]


def names_of(*overrides: str) -> list[str]:
    launcher = LocalLauncherConfig(name="local", jobs=1, threads=1, gpus=1.0)
    request = SweepRequest(Tree.at(), overrides, [], {}, launcher, Path("sweep"), "", None)
    return plan._names(request.combinations(), overrides, None)


def test_jobs_are_named_by_what_differs() -> None:
    assert names_of("seed=0,1") == ["seed=0", "seed=1"]
    assert names_of("seed=3") == ["0"]  # nothing differs
    assert names_of("optimizer=sgd,adam") == ["optimizer=sgd", "optimizer=adam"]
    assert names_of("optimizer=adam", "optimizer.betas=[0.9,0.99],[0.5,0.9]") == ["betas=0.9_0.99", "betas=0.5_0.9"]
    assert names_of("aug=distort", "aug.scale=0,0.1", "seed=1,2")[3] == "scale=0.1,seed=2"
    long = names_of("model.init=glorot,glorot_keras2016", *(f"optimizer.{k}=0.1,0.2" for k in ("lr", "momentum")))
    assert long[0] == "init=glorot,lr=0.1,momentum=0.1"
    # A number tells jobs apart whose names would be the same, or too long for a folder.
    assert names_of("data=folder", "data.root=a/b,a_b") == ["0,root=a_b", "1,root=a_b"]
    assert names_of("data=folder", "data.root=Digits,digits") == ["0,root=Digits", "1,root=digits"]
    assert names_of("data=folder", f"data.root={'x' * 250},y") == [f"root={'x' * 250}", "root=y"]
    folders = names_of("data=folder", f"data.root='{'数' * 85}/1','{'数' * 85}/2'")
    assert [name[:9] for name in folders] == ["0,root=数数", "1,root=数数"]
    assert [len(name.encode()) for name in folders] == [253, 253]  # not 255: letters stay whole


def test_value_that_is_typed_twice_is_one_job() -> None:
    sweep = plan_sweep(["seed=0,1,0", "data=digits"], Tree.at())
    assert [job.overrides for job in sweep.jobs(sweep.request.combinations())] == [
        ["seed=0", "data=digits"],
        ["seed=1", "data=digits"],
    ]


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("hydra:\n  launcher:\n    jobs: 3\n", "hydra/launcher"),
        ("hydra:\n  sweep:\n    dir: elsewhere\n", "hydra.sweep.dir"),
    ],
)
def test_preset_of_one_job_cannot_set_what_all_share(lines: str, key: str) -> None:
    write(Path("conf/experiment/a.yaml"), "# @package _global_\nseed: 1\n")
    write(Path("conf/experiment/b.yaml"), "# @package _global_\n" + lines)
    sweep = plan_sweep(["experiment=a,b"], Tree.at())
    with pytest.raises(ConfigError) as caught:
        sweep.jobs(sweep.request.combinations())
    message = f"experiment=b: sets {key}, which all jobs of a sweep share; write {key}=… after digitnet -m"
    assert str(caught.value) == message
    typed = {"hydra/launcher": "hydra.launcher.jobs=2", "hydra.sweep.dir": "hydra.sweep.dir=here"}
    sweep = plan_sweep(["experiment=a,b", typed[key]], Tree.at())
    assert len(sweep.jobs(sweep.request.combinations())) == 2


def test_planning_of_many_jobs_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "WORKING_SECONDS", 0.0)
    sweep = plan_sweep(["seed=0,1,2", "data=digits"], Tree.at())
    sweep.jobs(sweep.request.combinations())
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "checking job 0 of 3; ? left"


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("optimizer: adam\noptimizer.betas: [[0.9, 0.99], [0.8, 0.9]]\n", ["optimizer.betas=[0.8,0.9]"]),
        ("model: custom\nmodel.target: mine:Net\nmodel.kwargs: {width: 3}\n", ["model.kwargs={width: 3}"]),
        ("model: custom\nmodel: {target: mine:Net}\n".partition("\n")[2], ["model.target=mine:Net"]),
        ("init_from: ['a,b', c d]\nseed: null\n", ["init_from='a,b'"]),
        ("model: allconv\nmodel.final_relu: [true, false]\n", ["model.final_relu=False"]),
    ],
)
def test_values_of_a_plain_preset_are_those_of_the_file(text: str, overrides: list[str]) -> None:
    write(Path("conf/sweep/mine.yaml"), text)
    combinations = plan_sweep(["sweep=mine", "hydra.sweep.dir=s"], Tree.at()).request.combinations()
    plain = [word.replace(" ", "") for words in combinations for word in words]
    assert {word.replace(" ", "") for word in overrides} <= {*plain}, plain
