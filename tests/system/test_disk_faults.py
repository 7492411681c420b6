"""Disks that are full or read-only, and folders without permission; only root can mount such file systems."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY, Command, Trained, figures, unprivileged
from digitnet.runs.formats import read_summary
from digitnet.training import checkpoint

HERE = Path("here")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of four megabytes, in memory."""
    folder = Path("disk").resolve()
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, but: int = 0) -> None:
    """Leave `but` bytes, about."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        with contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        ballast.truncate(max(0, (disk / "ballast").stat().st_size - but))


@pytest.mark.parametrize(("left", "file"), [(0, "summary.json"), (300_000, "checkpoints/best.pt")])
def test_full_disk_keeps_what_is_there(command: Command, small_disk: Path, left: int, file: str) -> None:
    run_dir = small_disk / "run"
    assert command(*TINY, "trainer.epochs=1", f"hydra.run.dir={run_dir}").code == 0
    before = (run_dir / "checkpoints" / "last.pt").read_bytes()
    fill(small_disk, left)
    done = command("resume", str(run_dir), "trainer.epochs=3")
    assert (done.code, done.err) == (1, f"error: {run_dir}/{file}: No space left on device\n")
    assert (run_dir / "checkpoints" / "last.pt").read_bytes() == before
    assert [epoch for epoch, *_ in figures(run_dir)] == [1]
    assert read_summary(run_dir / "summary.json").status == ("failed" if left else "finished")
    (small_disk / "ballast").unlink()
    assert command("resume", str(run_dir), "trainer.epochs=3").code == 0
    assert [epoch for epoch, *_ in figures(run_dir)] == [1, 2, 3]
    assert read_summary(run_dir / "summary.json").status == "finished"


def test_disk_that_fills_while_training_keeps_whole_checkpoints(command: Command, small_disk: Path) -> None:
    run_dir = small_disk / "run"
    done = command(*TINY, "trainer.threads=1", f"hydra.run.dir={run_dir}", "checkpoint.keep=null", "trainer.epochs=30")
    assert done.code == 1
    assert done.err.startswith(f"error: {run_dir}/checkpoints/")
    assert done.err.endswith(": No space left on device\n")
    summary = read_summary(run_dir / "summary.json")
    assert summary.status == "failed"
    assert summary.steps == checkpoint.load_checkpoint(run_dir / "checkpoints" / "last.pt")["step"] > 0
    for path in (run_dir / "checkpoints").glob("[!.]*"):
        checkpoint.load_checkpoint(path)
    done = command("resume", str(run_dir), "checkpoint.keep=1", f"trainer.epochs={summary.epochs + 3}")
    assert (done.code, done.err) == (0, "")  # with room again, as keep=1 has removed the others


def test_read_only_folder_is_named(command: Command, small_disk: Path) -> None:
    run_dir = small_disk / "run"
    assert command(*TINY, "trainer.epochs=1", f"hydra.run.dir={run_dir}").code == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = command("resume", str(run_dir), "trainer.epochs=2")
    assert (done.code, done.err) == (1, f"error: {run_dir}/.lock: Read-only file system\n")
    done = command(*TINY, f"hydra.run.dir={small_disk / 'other'}")
    assert done.code == 1
    assert done.err.startswith("error: cannot make the run's folder (")
    assert "Read-only file system); set hydra.run.dir=FOLDER to another" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="root's privileges are dropped as Linux has it")
def test_folder_without_permission_is_named(trained: Trained) -> None:
    trained(*TINY, "trainer.epochs=1", to="here")
    before = (HERE / "summary.json").read_bytes()
    HERE.chmod(0o500)
    try:
        done = unprivileged("resume", "here", "trainer.epochs=2")
        assert (done.returncode, done.stderr) == (1, "error: here/summary.json: Permission denied\n")
        done = unprivileged(*TINY, "hydra.run.dir=here/another")
        assert done.returncode == 1
        assert done.stderr.startswith("error: cannot make the run's folder (here/another")
        assert done.stderr.endswith("Permission denied); set hydra.run.dir=FOLDER to another\n")
    finally:
        HERE.chmod(0o700)
    assert (HERE / "summary.json").read_bytes() == before


def test_page_that_does_not_fit_on_the_disk_is_an_error_and_leaves_nothing(
    trained: Trained, command: Command, small_disk: Path
) -> None:
    fill(small_disk, 20_000)
    before = sorted(small_disk.iterdir())
    done = command("report", str(trained()), "--output", str(small_disk / "page.html"))
    assert (done.code, done.err) == (1, f"error: {small_disk}/page.html: No space left on device\n")
    assert sorted(small_disk.iterdir()) == before


def test_run_goes_on_without_a_tracker_whose_disk_is_full(command: Command, small_disk: Path) -> None:
    fill(small_disk)
    done = command(*TINY, "hydra.run.dir=run", "tracker=tensorboard", f"tracker.tensorboard.folder={small_disk}")
    assert (done.code, done.err) == (0, "")
    (warning,) = [line for line in done.out.splitlines() if line.startswith("warning: tracker")]
    assert warning.startswith("warning: tracker=tensorboard: OSError: [Errno 28] No space left on device")
