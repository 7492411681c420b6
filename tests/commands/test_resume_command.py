"""The arguments of `digitnet resume`."""

from pathlib import Path

from conftest import Command
from digitnet.sweep.manifest import read_manifest
from searching import write_finished_search
from sweeping import SWEEP


def test_folder_without_a_run_is_refused(command: Command) -> None:
    done = command("resume", "outputs")
    assert (done.code, done.err) == (2, "error: outputs: not a folder; give that of a run or of a sweep\n")
    Path("outputs").mkdir()
    done = command("resume", "outputs")
    answer = "error: outputs: no summary.json there; give the folder of a run or of a sweep\n"
    assert (done.code, done.err) == (2, answer)


def test_trials_of_a_run_or_a_sweep_are_refused(command: Command) -> None:
    write_finished_search()
    (folder,) = (path.parent.name for path in SWEEP.glob("*/summary.json"))
    done = command("resume", f"sweep/{folder}", "--trials", "2")
    assert (done.code, done.err) == (
        2,
        f"error: --trials: sweep/{folder} is not a search; for a run, use trainer.epochs=N\n",
    )
    sweep = read_manifest(SWEEP)
    sweep.search = None
    sweep.write()
    done = command("resume", "sweep", "--trials", "2")
    assert (done.code, done.err) == (
        2,
        "error: --trials: sweep is not a search; the number of its jobs cannot be changed\n",
    )
