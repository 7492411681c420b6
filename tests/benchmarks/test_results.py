"""benchmarks/results.py: what its tables say of a set of runs."""

import csv
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from conftest import CHECKOUT, write

CLASSES = [str(digit) for digit in range(10)]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, with documents of its own to write into."""
    monkeypatch.syspath_prepend(str(CHECKOUT / "benchmarks"))
    documents = importlib.import_module("documents")
    module = importlib.import_module("results")
    monkeypatch.setattr(documents, "CHECKOUT", tmp_path)
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    pages = {"README.md": [""], "docs/results.md": ["", ", best"], "docs/lenet5_1998.md": ["", ", choices"]}
    for page, parts in pages.items():
        sections = [f"<!-- made by benchmarks/results.py{part} -->\nold\n<!-- end -->\n" for part in parts]
        write(tmp_path / page, "before\n" + "".join(sections) + "after\n")
    return module


def write_run(folder: Path, predicted: Sequence[int], errors: int = 0, torch: str = "2.14.1", **changes: Any) -> None:
    """A finished run whose predictions are `predicted`, and whose accuracy is that of `errors` of 1,000."""
    summary = {
        "status": "finished",
        "parameters": 51_578,
        "versions": {"torch": torch},
        "dataset": {"classes": CLASSES, "train": 3000},
        "test": {"accuracy": 1 - errors / 1000, "errors": errors, "n": 1000},
    }
    write(folder / "summary.json", json.dumps(summary | changes))
    with (folder / "predictions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["index", "label", "predicted", "confidence"])
        rows.writerows([index, 0, label, 0.5] for index, label in enumerate(predicted))
    columns = "epoch,lr,train_loss,train_acc,val_loss,val_acc,epoch_seconds,images_per_second"
    write(folder / "metrics.csv", f"{columns}\n1,1.0,0.1,0.9,0.1,0.9,2.0,1500.0\n")


EVERY = range(10)


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([(EVERY, 10), (EVERY, 20), (EVERY, 30)], "98.00 ± 1.00 %"),
        (
            [([0], 902)] * 3 + [(EVERY, 10), ([c for c in EVERY if c != 5], 100)],
            "3 of 5 seeds predict the 0 only, 1 predicts every class, 1 never predicts the 5",
        ),
        ([([0], 902), ([1], 900), ([2, 3], 880)], "3 of 3 seeds stay at chance"),
        ([(EVERY, 850), (EVERY, 10), (EVERY, 10)], "2 of 3 seeds predict every class, 1 stays at chance"),
        ([([c for c in EVERY if c not in (3, 5)], 200)] * 3, "3 of 3 seeds never predict the 3 or the 5"),
    ],
)
def test_result_is_a_mean_or_a_count(
    runs: list[tuple[Sequence[int], int]], text: str, results: ModuleType, tmp_path: Path
) -> None:
    finished = []
    for seed, (predicted, errors) in enumerate(runs):
        write_run(folder := tmp_path / str(seed), predicted, errors)
        finished.append(results.FinishedRun(folder, results.summary_of(folder)))
    assert results.result(finished) == text


def test_every_row_has_three_seeds(results: ModuleType) -> None:
    assert min(row.seeds for row in results.ROWS) >= results.FEWEST_RUNS == 3
    assert {row.name for row in results.ROWS} >= {*results.HEADLINES, *results.PICTURES.values()}
    assert len(results.HEADLINES) == 3


def write_table(runs: Path, results: ModuleType, *tables: str) -> None:
    """Three finished runs of every row of these tables."""
    for row in results.ROWS:
        if row.table in tables:
            for seed in row.all_seeds[:3]:
                write_run(runs / row.name / str(seed), EVERY, 8 + seed)


def test_table_has_the_finished_runs_of_its_rows(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    write_table(runs, results, "notebook", "best", "1998")
    for seed in range(11):
        write_run(runs / "lenet5" / str(seed), EVERY, 10 + seed)  # of which five count
        write_run(runs / "fast99" / str(seed), EVERY, 99 if seed == 0 else 10)  # whose seed 0 searched
    for seed in range(3):
        write_run(runs / "allconv_relu" / str(seed), [0], 902)
    monkeypatch.setattr(results, "ensemble_line", lambda found: "the ensemble")
    results.write_documents(runs)
    page = (tmp_path / "docs" / "results.md").read_text()
    assert page.startswith("before\n<!-- made by benchmarks/results.py -->\n| what |")
    assert page.endswith("<!-- end -->\nafter\n")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows[2] == (
        "| LeNet-5 (part I), from scratch | `digitnet experiment=lenet5` | – | 98.80 ± 0.16 % | 98.60 to 99.00 % | "
        "98.60 % | 5 | 2.0 s |"
    )
    assert "| 3 of 3 seeds stay at chance | – | 9.80 % | 3 |" in page
    row = "| `digitnet experiment=fast99` | 51,578 | 99.00 ± 0.00 % | 99.00 to 99.00 % | 99.00 % | 10 | 2.0 s |"
    assert row in page
    assert "more accurate: `experiment=fast99`.\n\nthe ensemble\n\n" in page
    assert page.count("torch 2.14.1.") == 2
    assert "| `digitnet experiment=fast99` | 99.00 ± 0.00 % | 10 | 2.0 s |\n" in (tmp_path / "README.md").read_text()


def test_section_without_all_of_its_rows_stays_as_it_is(
    results: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    write_table(runs, results, "notebook")
    write_run(runs / "momentum" / "2", [0], 902, status="running")
    results.write_documents(runs)
    assert (tmp_path / "docs" / "results.md").read_text().count("old") == 2
    notes = capsys.readouterr().err
    assert "momentum: 2 of 3 runs are finished\n" in notes
    assert "docs/results.md: left as it is, without enough runs of momentum\n" in notes
    assert "docs/results.md (best): left as it is, without enough runs of allconv_best, fast99, fast995, " in notes
    write_run(runs / "momentum" / "2", [0], 902)
    results.write_documents(runs)
    assert (tmp_path / "docs" / "results.md").read_text().count("old") == 1


def test_page_of_1998_has_errors_beside_the_papers(results: ModuleType, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_table(runs, results, "1998", "choices of 1998")
    results.write_documents(runs)
    page = (tmp_path / "docs" / "lenet5_1998.md").read_text()
    assert "| without distortions | 0.95 % | 0.82 ± 0.2 % | 1.00 ± 0.10 % | 3 | 2.0 s |" in page
    command = "digitnet experiment=lenet5_1998 trainer.epochs=5 optimizer=sgd optimizer.lr=0.001"
    assert f"| plain SGD | `{command}` | 0.90 ± 0.10 % | 3 | 2.0 s |" in page


def test_best_epoch_is_compared_with_the_last(results: ModuleType, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for seed in range(5):
        write_run(folder := runs / "lenet5" / str(seed), EVERY, 10)
        first = (folder / "metrics.csv").read_text()
        lines = [f"{epoch},1.0,0.1,0.9,0.1,{acc},2.0,1500.0\n" for epoch, acc in ((2, 0.95), (3, 0.94 - seed / 1000))]
        (folder / "metrics.csv").write_text(first + "".join(lines))
    (text,) = [results.flattery(results.finished_runs(runs))]
    assert text.endswith("flatter the first row by 1.20 ± 0.16 points (n = 5).")


def test_front_is_what_nothing_faster_reaches(results: ModuleType, tmp_path: Path) -> None:
    rows = []
    for name, errors in (("fast99", 10), ("fast995", 5), ("lenet5_best", 8), ("lenet5", 5), ("allconv_best", 3)):
        write_run(folder := tmp_path / name, EVERY, errors)
        row = next(row for row in results.ROWS if row.name == name)
        rows.append((row, [results.FinishedRun(folder, results.summary_of(folder))]))
    assert [row.name for row in results.front(rows)] == ["fast99", "fast995", "allconv_best"]


def test_ensemble_is_what_evaluate_says_of_it(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    for seed in (1, 2, 3):
        write_run(runs / "allconv_best" / str(seed), EVERY, 3)
    rows = [
        {"ensemble": kind, "accuracy": 0.9975, "errors": 25, "accuracy_low": 0.996, "accuracy_high": 0.998}
        for kind in (None, "mean", "vote")
    ]
    commands = []

    def evaluate(command: list[str], **_: Any) -> Any:
        commands.append(command[3:])
        return SimpleNamespace(stdout=json.dumps(rows))

    monkeypatch.setattr(results.subprocess, "run", evaluate)
    text = results.ensemble_line(results.finished_runs(runs))
    folders = [str(runs / "allconv_best" / str(seed)) for seed in (1, 2, 3)]
    assert commands == [["evaluate", *folders, "--format", "json"]]
    assert text.endswith("99.75 %, 25 errors; 95 % interval over images 99.60 to 99.80 %.")


def test_runs_of_two_versions_of_torch_are_refused(results: ModuleType, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for row in ("lenet5", "distort"):
        for seed in range(3):
            write_run(runs / row / str(seed), EVERY, torch="2.15.0" if row == "distort" and seed == 1 else "2.14.1")
    with pytest.raises(SystemExit) as ended:
        results.write_documents(runs)
    message = str(ended.value)
    assert message.startswith("error: runs of several versions of torch")
    assert f"\n  2.15.0: {runs / 'distort' / '1'}" in message
    assert "old" in (tmp_path / "docs" / "results.md").read_text()


def test_no_finished_runs_is_an_error(results: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no row has 3 finished runs"):
        results.write_documents(tmp_path / "runs")


def test_document_without_the_section_is_an_error(results: ModuleType, tmp_path: Path) -> None:
    documents = sys.modules["documents"]
    with pytest.raises(SystemExit, match=r"README\.md has no section of benchmarks/other\.py"):
        documents.write_section("README.md", "benchmarks/other.py", "text\n")


def test_interrupted_runs_are_resumed_and_finished_ones_kept(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "lenet5" / "0", EVERY)
    write_run(tmp_path / "lenet5" / "1", EVERY, status="interrupted")
    write(tmp_path / "lenet5" / "1" / "checkpoints" / "last.pt", "")
    commands = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command[3:])
        return SimpleNamespace(stdout="done\n", stderr="")

    monkeypatch.setattr(results.subprocess, "run", run)
    row = next(row for row in results.ROWS if row.name == "lenet5")
    for seed in (0, 1, 2):
        results.run(row, seed, tmp_path)
    assert commands[0] == ["resume", str(tmp_path / "lenet5" / "1")]
    assert commands[1][:3] == ["experiment=lenet5", "data=mnist", "seed=2"]
    assert len(commands) == 2
