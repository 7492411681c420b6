"""Which runs make a curve, and which setting is swept."""

import json
from pathlib import Path

import pytest

from conftest import write
from digitnet.report.curves import Curve, collect_curves
from digitnet.runs.reader import find_runs
from run_folders import ACCURACIES, changing_summary, make_run, remove_summary, write_or_pipe


def collected(*keys: str) -> tuple[list[Curve], str | None, str]:
    """The curves of the runs below the working directory, the swept setting, and the measure."""
    found = collect_curves(find_runs(["."]), keys)
    return list(found.curves), found.swept, found.measure


def test_runs_that_differ_only_in_the_seed_are_one_curve() -> None:
    for lr in (10.0, 0.5, 2.0):
        for seed in (0, 1):
            make_run(f"{lr}-{seed}", (0.5, 0.9 + seed / 100), optimizer__lr=lr, seed=seed)
    make_run("10.0-2", (0.1,), optimizer__lr=10.0, seed=2, trainer__epochs=2, status="diverged")
    make_run("10.0-3", (), optimizer__lr=10.0, seed=3, trainer__epochs=2, status="failed")
    make_run("10.0-4", (0.2,), optimizer__lr=10.0, seed=4, trainer__epochs=2, status="running")
    remove_summary(make_run("broken"))
    curves, swept, measure = collected()
    assert (swept, measure) == ("optimizer.lr", "Test error")
    assert [(curve.label, curve.swept_value, curve.series) for curve in curves] == [
        ("lr 0.5", 0.5, ""),
        ("lr 2", 2.0, ""),
        ("lr 10", 10.0, ""),
    ]
    assert [(curve.finished, curve.final, curve.failures) for curve in curves] == [
        ([[0.5, 0.9], [0.5, 0.91]], [0.9, 0.91], 0),
        ([[0.5, 0.9], [0.5, 0.91]], [0.9, 0.91], 0),
        ([[0.5, 0.9], [0.5, 0.91]], [0.9, 0.91], 1),
    ]
    assert curves[2].unfinished == [[0.1], [0.2]]


def test_axis_of_a_search_in_the_logarithm_is_logarithmic() -> None:
    for lr in (0.1, 0.2):
        make_run(f"sweep/{lr}", optimizer__lr=lr)
    assert not collect_curves(find_runs(["sweep"]), []).is_log
    for log in (True, False):
        write(Path("sweep/sweep.json"), json.dumps({"jobs": {}, "search": {"space": {"optimizer.lr": {"log": log}}}}))
        assert collect_curves(find_runs(["sweep"]), []).is_log == log


def test_runs_that_never_trained_are_counted_and_not_drawn() -> None:
    make_run("good", (0.9,), optimizer__lr=0.1)
    make_run("bad start", (), optimizer__lr=1.0, status="failed", error="no data")
    make_run("diverged at once", (), optimizer__lr=9.0, status="diverged")
    remove_summary(make_run("broken"))
    curve_set = collect_curves(find_runs(["."]), [])
    assert [(curve.swept_value, curve.failures) for curve in curve_set.curves] == [(0.1, 0), (9.0, 1)]
    assert curve_set.never_trained == 2


def test_swept_setting_is_the_one_with_most_numbers_or_the_first_key_given() -> None:
    for lr in (0.1, 0.2, 0.3):
        for size in (32, 128):
            make_run(f"{lr}-{size}", optimizer__lr=lr, trainer__batch_size=size, aug__name=f"a{size}")
    curves, swept, _ = collected()
    assert swept == "optimizer.lr"
    assert curves[0].series == "batch_size 32, aug a32"
    assert [curve.swept_value for curve in curves] == [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
    curves, swept, _ = collected("batch_size", "lr")
    assert (swept, curves[0].label, curves[0].series) == (
        "trainer.batch_size",
        "batch_size 32, lr 0.1, aug a32",
        "lr 0.1, aug a32",
    )
    curves, swept, _ = collected("aug", "lr")
    assert (swept, curves[0].swept_value, curves[1].swept_value) == (
        "aug",
        "a32",
        "a128",
    )  # sorted by the numbers in them
    curves, swept, _ = collected("seed", "lr")
    assert (swept, curves[0].label) == ("optimizer.lr", "seed 0, lr 0.1, batch_size 32, aug a32")


def test_numbers_take_precedence_over_more_words() -> None:
    for name in ("none", "distort", "shear"):
        for lr in (1.0, 2.0):
            make_run(f"{name}-{lr}", aug__name=name, optimizer__lr=lr)
    assert collected()[1] == "optimizer.lr"


def test_setting_that_an_option_determines_is_not_swept() -> None:
    make_run("a", optimizer__name="sgd", optimizer__lr=1.0, optimizer__momentum=0.9)
    make_run("b", optimizer__name="adam", optimizer__lr=0.001)
    curves, swept, _ = collected()
    assert (swept, [(curve.label, curve.swept_value) for curve in curves]) == (
        "optimizer",
        [("optimizer adam", "adam"), ("optimizer sgd", "sgd")],
    )
    make_run("c", optimizer__name="sgd", optimizer__lr=2.0, optimizer__momentum=0.9)
    assert collected()[1] == "optimizer.lr"


def test_run_without_the_swept_setting_has_no_swept_value() -> None:
    make_run("a", optimizer__momentum=None)
    make_run("b", optimizer__momentum=True)
    make_run("c", optimizer__momentum=0.9)
    make_run("d")
    curves, swept, _ = collected()
    assert swept == "optimizer.momentum"
    assert {curve.label: curve.swept_value for curve in curves} == {
        "momentum 0.9": 0.9,
        "momentum null": "null",
        "momentum true": "true",
        "d": None,
    }


@pytest.mark.parametrize("keys", [(), ("seed",)])
def test_if_only_seeds_differ_each_run_is_a_curve(keys: tuple[str, ...]) -> None:
    for seed in (10, 9):
        make_run(f"{seed}", seed=seed)
    curves, swept, _ = collected(*keys)
    assert (swept, [curve.label for curve in curves]) == (None, ["seed 9", "seed 10"])


def test_single_run_is_labelled_with_its_folder() -> None:
    make_run("outputs/12-00-00")
    curves, swept, _ = collected()
    assert (swept, [curve.label for curve in curves]) == (None, ["12-00-00"])
    curves, swept, _ = collected("seed", "model")  # keys with a single value
    assert (swept, [curve.label for curve in curves]) == (None, ["seed 0, model lenet5"])


def test_without_a_test_result_the_validation_error_is_measured() -> None:
    make_run("a", (0.7, 0.8), optimizer__lr=1.0)
    changing_summary(test=None)(make_run("b", (0.5, 0.6), optimizer__lr=2.0))
    curves, _, measure = collected()
    assert measure == "Validation error"
    assert [curve.final for curve in curves] == [[0.8], [0.6]]


@pytest.mark.parametrize(
    "content", [None, b"", b"epoch,lr\nx,y\n", b"\xff\xfe", b"epoch\n1\n", b"lr\n1\n", b"lr\n" + b"1" * 200_000, "pipe"]
)
def test_unreadable_metrics_give_an_empty_curve(content: bytes | str | None) -> None:
    make_run("a", optimizer__lr=1.0)
    make_run("c", optimizer__lr=2.0)
    Path("c/metrics.csv").unlink()
    write_or_pipe(Path("c/metrics.csv"), content)
    curves, _, _ = collected()
    assert [curve.finished for curve in curves] == [[list(ACCURACIES)], [[]]]
