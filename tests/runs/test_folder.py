"""`RunFolder`: new folders are claimed once, old ones are opened with what to do about what is wrong, or foreign."""

import os
from pathlib import Path

import pytest

from conftest import write
from digitnet.config.compose import load_config
from digitnet.errors import CheckpointError, ConfigError, DigitnetError
from digitnet.lock import this_process
from digitnet.report.terminal import Terminal
from digitnet.runs.folder import RunFolder, refuse_links
from digitnet.runs.formats import RunSummary, write_summary
from run_folders import make_run

HYDRA = {"config.yaml": "seed: 0\n", "overrides.yaml": "[]\n"}


@pytest.mark.parametrize("method", ["refuse_taken", "write_hydra_files"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_claim_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(RunFolder, method, fail)
    with pytest.raises((KeyboardInterrupt, OSError, DigitnetError)), RunFolder.claim(tmp_path / "day" / "run", {}):
        pass
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").touch()
    with pytest.raises(DigitnetError, match="cannot make the run's folder"), RunFolder.claim(tmp_path / "file", {}):
        pass


def test_claimed_folder_has_hydra_files_and_a_lock() -> None:
    with RunFolder.claim(Path("outputs/run"), HYDRA) as folder:
        assert {path.name for path in Path("outputs/run").iterdir()} == {".hydra", ".lock"}
        assert (folder.path / ".hydra" / "config.yaml").read_text() == "seed: 0\n"
        assert folder.is_locked()
        folder.check()
    assert not folder.is_locked()


def test_folder_of_a_run_is_not_claimed_again() -> None:
    make_run("run")
    with pytest.raises(ConfigError) as caught, RunFolder.claim(Path("run"), HYDRA):
        pytest.fail("claimed")
    assert str(caught.value) == "run: holds a run already, and runs never share a folder; choose another"
    assert not Path("run/.hydra").exists()


def test_folder_that_cannot_be_made_names_the_key() -> None:
    Path("file").touch()
    with pytest.raises(DigitnetError) as caught, RunFolder.claim(Path("file/run"), HYDRA):
        pytest.fail("claimed")
    assert str(caught.value) == (
        "cannot make the run's folder (file/run: Not a directory); set hydra.run.dir=FOLDER to another"
    )


def test_locked_folder_names_the_process_that_works_there() -> None:
    me = this_process()
    make_run("run", status="running", process=me)
    folder = RunFolder.open("run")
    with folder.locked():
        with pytest.raises(DigitnetError) as caught, RunFolder.open("run").locked(patience=0):
            pytest.fail("locked twice")
        assert str(caught.value) == (
            f"run: process {me['pid']} on {me['host']} is working in this folder; wait for it, or stop it first"
        )
        Path("run/summary.json").unlink()
        with (
            pytest.raises(DigitnetError, match="run: another process is working in this folder"),
            folder.locked(patience=0),
        ):
            pytest.fail("locked twice")


def test_check_fails_once_the_folder_is_another_one() -> None:
    with RunFolder.claim(Path("run"), HYDRA) as folder:
        Path("run").rename("moved")
        with pytest.raises(FileNotFoundError):
            folder.check()
        write(Path("run/.lock"), "")
        with pytest.raises(FileNotFoundError, match="was removed, and another run is in its place"):
            folder.check()


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("nope", ConfigError, "nope: not a folder; give that of a run or of a sweep"),
        ("k=v", ConfigError, "k=v: no such folder; RUN_DIR comes first: digitnet resume RUN_DIR k=v"),
        ("runs", ConfigError, "runs: no summary.json there; give one of the runs in it, runs/2 for instance"),
        ("runs/2/sub", ConfigError, "runs/2/sub: no summary.json there; give runs/2"),
        (
            "lost",
            ConfigError,
            "lost: no summary.json there; restore it; without it, the weights can start a new run: init_from=RUN_DIR",
        ),
        ("early", ConfigError, "early: no summary.json there; it never started training; start it again"),
        ("other", ConfigError, "other: no summary.json there; give the folder of a run or of a sweep"),
        (
            "damaged",
            CheckpointError,
            "damaged/summary.json: not a run's summary (Invalid JSON: expected ident at line 1 column 2);\n"
            "restore it; without it, the weights can start a new run: init_from=RUN_DIR",
        ),
    ],
)
def test_folder_without_a_summary_says_what_to_give(path: str, kind: type[Exception], message: str) -> None:
    make_run("runs/1")
    make_run("runs/2")
    for folder in ("runs/2/sub", "lost/checkpoints", "early/.hydra", "other", "damaged"):
        Path(folder).mkdir(parents=True)
    Path("damaged/summary.json").write_text("nonsense")
    with pytest.raises(kind) as caught:
        RunFolder.open(path)
    assert str(caught.value) == message


def test_link_in_a_foreign_folder_is_refused() -> None:
    make_run("run")
    write(Path("mine.txt"), "mine")
    Path("run/checkpoints").mkdir()
    Path("run/checkpoints/last.pt").symlink_to(Path("mine.txt").absolute())
    with pytest.raises(CheckpointError) as caught:
        RunFolder.open("run")
    assert str(caught.value) == (
        "run/checkpoints/last.pt: a link, which no run creates; replace it by what it points to"
    )


@pytest.mark.parametrize("name", ["train.log", ".lock", "output.txt", "summary.json", ".hydra/config.yaml"])
def test_links_anywhere_in_a_folder_are_refused_before_anything_is_opened(name: str) -> None:
    write(Path("victim"), "precious")
    for folder in (make_run("run"), Path("new")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(Path("victim").absolute())
    for attempt in (
        lambda: RunFolder.open("run"),
        lambda: RunFolder.claim(Path("new"), {"config.yaml": ""}).__enter__(),
    ):
        with pytest.raises(CheckpointError, match=f"{name}: a link, which no run creates"):
            attempt()
    assert Path("victim").read_text() == "precious"


def test_links_of_slurms_launcher_are_none_of_ours() -> None:
    """submitit leaves one for each job that it submits, and a sweep with them can be resumed."""
    folder = make_run("run")
    (folder / ".slurm").mkdir()
    (folder / ".slurm" / ".submission_file_1.sh").symlink_to("1_submission.sh")
    refuse_links(folder)
    (folder / "other").symlink_to(".slurm")
    with pytest.raises(CheckpointError, match="run/other: a link, which no run creates"):
        refuse_links(folder)


def test_link_put_in_place_of_a_file_meanwhile_is_not_followed() -> None:
    write(Path("victim"), "precious")
    for name in ("train.log", ".hydra/config.yaml"):
        write(Path("run/.hydra/overrides.yaml"), "")
        Path("run", name).symlink_to(Path("victim").absolute())
    folder = RunFolder(Path("run"))
    with pytest.raises(OSError, match="is a link"):
        folder.append_to_log("more")
    with pytest.raises(OSError, match="is a link"):
        Terminal(folder.log_file, folder.path)
    with pytest.raises(OSError, match="is a link"):
        folder.write_hydra_files({"config.yaml": ""})
    assert Path("victim").read_text() == "precious"


def test_lock_that_is_a_link_is_not_opened() -> None:
    write(Path("victim"), "precious")
    Path(".lock").symlink_to("victim")
    with pytest.raises(OSError, match="not a file"), RunFolder(Path()).locked():
        pass
    assert Path("victim").read_text() == "precious"


def test_pipe_in_a_foreign_folder_is_refused() -> None:
    make_run("run")
    os.mkfifo("run/train.log")
    with pytest.raises(CheckpointError) as caught:
        RunFolder.open("run")
    assert str(caught.value) == "run/train.log: neither a file nor a folder; remove it"


def test_pipe_in_place_of_a_summary_is_not_waited_for() -> None:
    Path("run").mkdir()
    os.mkfifo("run/summary.json")
    with pytest.raises(OSError, match="not a file"):
        RunFolder(Path("run")).read_summary()
    with pytest.raises(CheckpointError, match=r"run/summary\.json: neither a file nor a folder; remove it"):
        RunFolder.open("run")


def test_network_of_a_foreign_folder_needs_trust() -> None:
    make_run("run")
    custom = load_config(["model=custom", "model.target=mine:Net"])
    with pytest.raises(ConfigError) as caught:
        RunFolder.open("run").refuse_untrusted(custom)
    assert str(caught.value) == (
        "run: its network is mine:Net, which would be imported and run;\n"
        "if you trust the source of this folder, add --trust"
    )
    RunFolder.open("run", trust=True).refuse_untrusted(custom)
    RunFolder.open("run").refuse_untrusted(load_config([]))


def test_records_and_summary_are_read() -> None:
    make_run("run", (0.5, 0.9))
    folder = RunFolder.open("run")
    assert [record.val_acc for record in folder.read_records()] == [0.5, 0.9]
    assert folder.read_summary().status == "finished"


def test_unfinished_files_of_a_killed_process_are_removed() -> None:
    make_run("run")
    for name in (".unfinished-metrics.csv", "checkpoints/.unfinished-last.pt", "checkpoints/last.pt"):
        write(Path("run", name), "half")
    RunFolder(Path("run")).remove_unfinished()
    assert sorted(str(path) for path in Path("run").rglob("*") if "unfinished" in path.name) == []
    assert Path("run/checkpoints/last.pt").exists()


def test_opening_a_folder_imports_no_torch() -> None:
    """`digitnet compare` reads a thousand runs in less time than torch takes to import."""
    import subprocess
    import sys

    summary = RunSummary(status="finished", command="digitnet", seed=0, versions={})
    Path("run").mkdir()
    write_summary(Path("run/summary.json"), summary)
    code = (
        "import sys; from digitnet.runs.folder import RunFolder as F; F.open('run'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_scratch_file_that_goes_meanwhile_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another process that works in the folder, between the listing and the look at it."""
    monkeypatch.setattr("digitnet.runs.folder.os.walk", lambda folder: [(str(folder), [], [".unfinished-1"])])
    refuse_links(tmp_path)
    os.mkfifo(tmp_path / ".unfinished-1")
    with pytest.raises(CheckpointError, match=r"unfinished-1: neither a file nor a folder; remove it"):
        refuse_links(tmp_path)
