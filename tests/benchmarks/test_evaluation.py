"""benchmarks/evaluation.py: what its tables say of a set of runs."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from conftest import CHECKOUT, TINY, write
from digitnet import cli

pytestmark = pytest.mark.slow


def test_tables_are_those_of_the_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        assert cli.main([*TINY, f"seed={seed}", "trainer.epochs=1", f"hydra.run.dir=runs/lenet5/{seed}"]) == 0
    for name in ("distort", "allconv_short"):
        shutil.copytree("runs/lenet5", f"runs/{name}")
    monkeypatch.syspath_prepend(str(CHECKOUT / "benchmarks"))
    documents, script = importlib.import_module("documents"), importlib.import_module("evaluation")
    for module in (documents, script):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    write(tmp_path / "docs/results.md", "before\n<!-- made by benchmarks/evaluation.py -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["evaluation.py", "--runs", "runs"])
    with pytest.raises(SystemExit, match=r"runs: fast99 needs 3 runs; first: python benchmarks/results\.py"):
        script.main()
    for seed in range(3):
        shutil.copytree(f"runs/lenet5/{seed}", f"runs/fast99/{seed + 1}")
    script.main()
    text = (tmp_path / "docs/results.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    test = json.loads(Path("runs/lenet5/1/summary.json").read_text())["test"]
    assert f"| LeNet-5, seed 1 | {100 * test['accuracy']:.2f} % | " in text
    assert "| mean of these 3 |" in text
    assert "| 2 and 3 | 0 | 0 | +0.00, +0.00 to +0.00 points | p = 1 |" in text
    assert "| corruption | LeNet-5 (n = 3) | LeNet-5 with distortions (n = 3) | all-convolutional (n = 3) |" in text
    assert text.count("| canny edges |") == 1
    assert (tmp_path / "docs/shift.png").stat().st_size > 10_000
    sys.modules.pop("evaluation")
