"""What differs, conditions, order, and means checked against hand-computed values."""

from pathlib import Path
from typing import Any

import pytest

from digitnet.errors import ConfigError
from digitnet.report.comparison import (
    ComparisonTable,
    averaged_over,
    differing_settings,
    filter_runs,
    tabulate,
)
from digitnet.report.tables import displayed
from digitnet.runs.reader import Run, find_runs
from run_folders import changing_summary, make_run, names


def column(table: ComparisonTable, key: str) -> list[Any]:
    return [row.get(key) for row in table.rows]


def test_columns_are_the_settings_that_differ() -> None:
    make_run("a", optimizer__name="sgd", optimizer__lr=0.1, trainer__threads=1, checkpoint__keep=0)
    make_run("b", optimizer__name="sgd", optimizer__lr=0.3, trainer__threads=2, checkpoint__keep=3)
    table = tabulate(find_runs(["."]))
    assert table.columns == [
        *["optimizer.lr", "status", "epochs", "val_acc", "best_val_acc", "test_acc", "test_errors", "seconds", "folder"]
    ]  # neither threads nor checkpoint.keep, which do not change the result


def test_differing_options_epochs_and_device_are_listed() -> None:
    make_run("a", (0.5,), optimizer__name="sgd", device__name="cpu")
    make_run("b", optimizer__name="adam", device__name="cuda")
    assert differing_settings(find_runs(["."])) == ["trainer.epochs", "optimizer", "device"]


def test_missing_setting_is_no_difference_and_its_cell_is_empty() -> None:
    make_run("adam", optimizer__name="adam")
    make_run("one", optimizer__name="sgd", optimizer__momentum=None)
    make_run("two", optimizer__name="sgd", optimizer__momentum=None)
    assert differing_settings(find_runs(["."])) == ["optimizer"]
    make_run("three", optimizer__name="sgd", optimizer__momentum=0.9)
    headings, cells = displayed(tabulate(find_runs(["."]), sort="folder"))
    assert headings[:2] == ["optimizer", "momentum"]
    assert [line[:2] for line in cells] == [["adam", ""], ["sgd", "null"], ["sgd", "0.9"], ["sgd", "null"]]


def test_integer_and_equal_float_are_the_same_value() -> None:
    make_run("old", optimizer__lr=1, schedule__phases=[{"epochs": 2, "factor": 1}])
    make_run("new", optimizer__lr=1.0, schedule__phases=[{"epochs": 2, "factor": 1.0}])
    assert differing_settings(find_runs(["."])) == []
    assert column(tabulate(find_runs(["."]), ["lr"]), "n") == [2]


@pytest.fixture
def three() -> list[Run]:
    make_run("a", (0.90,), optimizer__lr=0.1, data__validation="test", trainer__threads=None)
    make_run("b", (0.95,), optimizer__lr=0.3, data__validation=5000, model__pool=True)
    make_run("c", (0.80,), optimizer__lr=3.0, status="diverged", error="diverged in epoch 2")
    Path("d").mkdir()
    return find_runs("abcd")


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["optimizer.lr=0.3"], "b"),
        (["lr=0.30"], "b"),
        (["lr==3e-1"], "b"),
        (["lr!=0.3"], "acd"),
        (["lr>0.1"], "bc"),
        (["lr >= 0.1"], "abc"),
        (["lr<0.3"], "a"),
        (["lr<=0.3"], "ab"),
        (["lr>0.1", "lr<1"], "b"),
        (["val_acc>0"], "abc"),
        (["test_errors>=50"], "ab"),
        (["validation=test"], "a"),
        (["validation>=1000"], "b"),
        (["threads=null"], "a"),
        (["pool=true"], "b"),
        (["status=finished"], "ab"),
        (["status!=finished"], "cd"),
        (["status=broken"], "d"),
        (["model.name=lenet5"], "abc"),
    ],
)
def test_filter_keeps_the_runs_that_fulfil_all_conditions(three: list[Run], conditions: list[str], left: str) -> None:
    assert names(filter_runs(three, conditions)) == [*left]


def test_filter_compares_lists_without_spaces() -> None:
    make_run("a", optimizer__betas=[0.9, 0.999])
    make_run("b", optimizer__betas=[0.9, 0.99])
    assert names(filter_runs(find_runs(["."]), ["betas=[0.9,0.999]"])) == ["a"]


def test_best_run_is_first_and_unfinished_runs_are_last() -> None:
    make_run("second", (0.9,))
    make_run("best", (0.95,))
    make_run("stopped", (0.99,), status="interrupted")
    make_run("nothing", (), status="failed")
    assert names([run for (run,) in tabulate(find_runs(["."])).runs]) == ["best", "second", "stopped", "nothing"]


def test_equal_accuracies_are_sorted_by_loss() -> None:
    changing_summary(final={"val_acc": 0.9, "val_loss": 0.2})(make_run("a"))
    changing_summary(final={"val_acc": 0.9, "val_loss": 0.1})(make_run("b"))
    assert names([run for (run,) in tabulate(find_runs(["."])).runs]) == ["b", "a"]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("lr", "run9 run10 run1"),
        ("-lr", "run1 run10 run9"),
        ("optimizer", "run10 run1 run9"),
        ("-optimizer", "run9 run10 run1"),
        ("folder", "run1 run9 run10"),
        ("val_loss", "run1 run10 run9"),
        ("test_errors", "run1 run10 run9"),
        ("-seconds", "run9 run1 run10"),
    ],
)
def test_sort_by_any_key(key: str, order: str) -> None:
    make_run("run1", (0.9,), optimizer__lr=10.0, optimizer__name="adam", seconds=5.0)
    make_run("run9", (0.7,), optimizer__lr=0.5, optimizer__name="sgd", seconds=7.0)
    make_run("run10", (0.8,), optimizer__lr=2.0, optimizer__name="adam", seconds=3.0)
    found = [run for (run,) in tabulate(find_runs(["."]), sort=key).runs]
    if key == "optimizer":  # equal values are sorted by loss
        order = "run1 run10 run9"
    elif key == "-optimizer":
        order = "run9 run1 run10"
    assert names(found) == order.split()


def grouped(**keywords: Any) -> ComparisonTable:
    """Three finished seeds of lr 0.1; of lr 0.3 one that finished and one that diverged."""
    for seed, accuracy in enumerate((0.90, 0.94, 0.98)):
        make_run(f"a{seed}", (0.99, accuracy), optimizer__lr=0.1, seed=seed, seconds=60.0 + seed)
    make_run("b0", (0.5, 0.96), optimizer__lr=0.3)
    make_run("b1", (0.1,), optimizer__lr=0.3, seed=1, trainer__epochs=2, status="diverged", error="diverged in epoch 2")
    return tabulate(find_runs(["."]), ["lr"], **keywords)


def test_groups_have_means_standard_deviations_and_n() -> None:
    table = grouped()
    assert table.columns == [
        *["optimizer.lr", "n", "unfinished", "val_acc", "val_acc_std", "best_val_acc", "best_val_acc_std"],
        *["test_acc", "test_acc_std", "test_acc_low", "test_acc_high"],
        *["test_errors", "test_errors_std", "seconds", "seconds_std"],
    ]
    one, three = table.rows  # 0.96 before 0.94
    assert (one["optimizer.lr"], one["n"], one["unfinished"]) == (0.3, 1, 1)
    assert (one["val_acc"], one["val_acc_std"], one["test_errors"]) == (0.96, None, 40)
    assert (three["optimizer.lr"], three["n"], three["unfinished"]) == (0.1, 3, None)
    # (0.90 + 0.94 + 0.98) / 3, and the root of (0.04² + 0² + 0.04²) / 2
    assert (three["val_acc"], three["val_acc_std"]) == (pytest.approx(0.94), pytest.approx(0.04))
    assert (three["best_val_acc"], three["best_val_acc_std"]) == (pytest.approx(0.99), pytest.approx(0))
    assert (three["test_errors"], three["test_errors_std"]) == (pytest.approx(60), pytest.approx(40))  # 100, 60, 20
    margin = (
        4.302653 * 0.04 / 3**0.5
    )  # Student's t of 2 degrees of freedom; the best row of several runs has no p-value
    assert (three["test_acc_low"], three["test_acc_high"]) == (
        pytest.approx(0.94 - margin),
        pytest.approx(0.94 + margin),
    )
    assert (one["test_acc_low"], one["p_value"], three["p_value"]) == (None, None, None)
    assert (three["seconds"], three["seconds_std"]) == (pytest.approx(61), pytest.approx(1))


def test_rows_are_tested_against_the_best_one() -> None:
    for seed, (high, low) in enumerate(((0.985, 0.98), (0.99, 0.982), (0.986, 0.981))):
        make_run(f"a{seed}", (high,), optimizer__lr=0.1, seed=seed)
        make_run(f"b{seed}", (low,), optimizer__lr=0.2, seed=seed)
        make_run(f"c{seed}", (0.97,), optimizer__lr=0.3, seed=seed)
        make_run(f"d{seed}", (0.97,), optimizer__lr=0.4, seed=seed)
    best, second, third, _ = tabulate(find_runs(["."]), ["lr"]).rows
    assert best["p_value"] is None
    # Welch: t = (0.987 - 0.981) / sqrt((7e-6 + 1e-6) / 3) = 3.674, 2.560 degrees of freedom
    assert second["p_value"] == pytest.approx(0.0453, abs=0.0001)
    assert third["p_value"] < second["p_value"]
    make_run("single", (0.995,), optimizer__lr=0.7)  # no mean of several runs is tested against it
    assert [row["p_value"] is None for row in tabulate(find_runs(["."]), ["lr"]).rows] == [
        True,
        True,
        False,
        False,
        False,
    ]
    for seed in range(3):
        make_run(f"e{seed}", (0.999,), optimizer__lr=0.5, seed=seed)
    rows = tabulate(find_runs(["."]), ["lr"], sort="lr").rows
    assert rows[2]["p_value"] is None  # neither they nor the best ones vary: nothing can be said


def test_sort_of_groups() -> None:
    assert column(grouped(sort="lr"), "optimizer.lr") == [0.1, 0.3]
    runs = find_runs(["."])
    assert column(tabulate(runs, ["lr"], sort="-val_acc_std"), "optimizer.lr") == [0.1, 0.3]
    assert column(tabulate(runs, ["lr"], sort="n"), "n") == [1, 3]
    assert column(tabulate(runs, ["lr"], sort="-parameters"), "n") == [
        1,
        3,
    ]  # not a column: by the first run of each group


def test_settings_averaged_over_are_listed() -> None:
    for number, momentum in enumerate((0.0, 0.9)):
        make_run(f"{number}", optimizer__lr=0.1, optimizer__momentum=momentum, seed=number)
        make_run(f"{number}x", optimizer__lr=0.3, optimizer__momentum=0.9, seed=0)
    assert averaged_over(tabulate(find_runs(["."]), ["lr"], over=["momentum"])) == ["seed", "optimizer.momentum"]
    assert averaged_over(tabulate(find_runs(["."]))) == []


def test_only_the_seed_is_averaged_over_unless_over_names_more() -> None:
    for data, shift in (("mnist", 1), ("digits", 2)):
        for seed, accuracy in enumerate((0.9, 0.8)):
            accuracies = (accuracy if data == "mnist" else accuracy / 2,)
            make_run(f"{data}{seed}", accuracies, optimizer__lr=0.1, data__name=data, data__shift=shift, seed=seed)
    runs = find_runs(["."])
    table = tabulate(runs, ["lr"])
    assert table.columns[:3] == ["optimizer.lr", "data", "n"]  # data.shift, which data determines, tells nothing more
    assert (table.told_apart, column(table, "n")) == (["data"], [2, 2])
    assert column(table, "val_acc") == [pytest.approx(0.85), pytest.approx(0.425)]
    over = tabulate(runs, ["lr"], over=["data"])  # with the keys of data
    assert (over.told_apart, column(over, "n"), column(over, "val_acc")) == ([], [4], [pytest.approx(0.6375)])
    with pytest.raises(ConfigError, match="no key 'daat' in these runs … did you mean 'data'"):
        tabulate(runs, ["lr"], over=["daat"])


def test_chosen_columns_are_the_only_ones_and_have_what_the_runs_of_a_row_share() -> None:
    for seed, accuracy in enumerate((0.9, 0.8)):
        make_run(f"r{seed}", (accuracy,), optimizer__lr=0.1, optimizer__momentum=0.9, seed=seed)
    runs = find_runs(["."])
    one_by_one = tabulate(runs, columns=["seed", "momentum", "val_loss", "folder"])
    assert one_by_one.columns == ["seed", "optimizer.momentum", "val_loss", "folder"]
    assert [line[:2] for line in displayed(one_by_one)[1]] == [["0", "0.9"], ["1", "0.9"]]
    grouped_by_lr = tabulate(runs, ["lr"], columns=["n", "test_acc", "test_acc_std", "momentum", "seed"])
    assert displayed(grouped_by_lr) == (
        ["n", "test_acc", "test_acc_std", "momentum", "seed"],
        [["2 (<3)", "85.00 ± 7.07 %", "7.07 %", "0.9", ""]],
    )


def test_groups_by_several_keys_and_by_a_missing_setting() -> None:
    make_run("a", optimizer__name="sgd", optimizer__momentum=None, seed=0)
    make_run("b", optimizer__name="sgd", optimizer__momentum=None, seed=1)
    make_run("c", optimizer__name="adam", seed=0)
    table = tabulate(find_runs(["."]), ["optimizer", "momentum", "optimizer.name"], sort="n")
    assert table.columns[:3] == ["optimizer", "optimizer.momentum", "n"]
    assert displayed(table)[1][0][:3] == ["adam", "", "1 (<3)"]
    assert displayed(table)[1][1][:3] == ["sgd", "null", "2 (<3)"]


def test_groups_by_a_metric_and_by_status() -> None:
    for number, accuracy in enumerate((0.9, 0.9, 0.8)):
        make_run(f"{number}", (accuracy,), seed=number)
    make_run("4", (0.8,), seed=4, status="failed")
    table = tabulate(find_runs(["."]), ["test_errors"], sort="test_errors")
    assert table.columns[:3] == ["test_errors", "n", "unfinished"]
    assert table.columns.count("test_errors") == 1
    assert (column(table, "test_errors"), column(table, "n")) == ([100, 200, None], [2, 1, 0])
    assert column(tabulate(find_runs(["."]), ["status"], sort="status"), "status") == ["failed", "finished"]


def test_filter_takes_text_with_and_without_the_quotes_of_yaml() -> None:
    make_run("a", model__target="a: b")
    make_run("b", model__target="1e-3")
    runs = find_runs(["."])
    assert names(filter_runs(runs, ["target=a: b"])) == names(filter_runs(runs, ["target='a: b'"])) == ["a"]
    assert names(filter_runs(runs, ["target=1e-3"])) == ["b"]
