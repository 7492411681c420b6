"""Compares runs: finds settings that differ, filters runs, and makes a table of a row per run or group of runs."""

import math
import operator
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from digitnet.config.dotted import as_yaml
from digitnet.config.rules import is_changeable
from digitnet.errors import ConfigError
from digitnet.runs.formats import is_number
from digitnet.runs.reader import METRICS, Run
from digitnet.significance import mean_interval, welch_test
from digitnet.text import did_you_mean

TESTED = "test_acc"  # the metric whose mean has an interval, and a test against the best row's:
TESTS = ("test_acc_low", "test_acc_high", "p_value")
AVERAGED = ("val_acc", "best_val_acc", "test_acc", "test_errors", "seconds")
SHOWN_EVEN_IF_CHANGEABLE = ("trainer.epochs", "device")
MAX_VALUES = 8  # of a setting, in a message
FEW = 3  # runs: a mean of fewer says little
CONDITION = re.compile(r"\s*([\w.]+)\s*(==|!=|>=|<=|=|>|<)\s*(.*?)\s*")
ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class ComparisonTable:
    """`columns` are keys; a row has values for some of them; `runs` has the runs of each row.

    `told_apart` are the settings that the rows were not to be grouped by, but that no mean may be over; `chosen` if the
    user named the columns.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    runs: list[list[Run]]
    told_apart: list[str] = field(default_factory=list)
    chosen: bool = False


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """The settings whose values differ among the runs that have them.

    Without settings that do not change the result, such as the number of threads.
    """
    values: dict[str, dict[str, Any]] = {}  # by their repr, which is faster than `as_yaml`
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, {})[repr(value)] = value
    return [
        key
        for key, different in values.items()
        if len(different) > 1
        and len({as_yaml(value) for value in different.values()}) > 1  # 1 and 1.0 are the same
        and (key in SHOWN_EVEN_IF_CHANGEABLE or not (is_changeable(key) or key.startswith("debug.")))
    ]


def resolve_key(word: str, runs: Sequence[Run]) -> str:
    """The metric or setting for `word`, which may be the last part of a key: `lr` for `optimizer.lr`.

    Raises ConfigError if there is no such key, or more than one.
    """
    keys = _all_keys(runs)
    for key in (word, word.removesuffix(".name")):
        if key in keys:
            return key
    matches = [key for key in keys if key.rpartition(".")[2] == word]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(f"'{word}' is more than one key: {', '.join(matches)}")
    raise ConfigError(
        f"no key '{word}' in these runs{did_you_mean(word, keys) or '; metrics are ' + ', '.join(METRICS)}"
    )


def short_keys(keys: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """`keys` as short as `resolve_key` takes them: `lr` for `optimizer.lr` if no other key ends in `.lr`."""
    all_keys = _all_keys(runs)
    leaves = Counter(key.rpartition(".")[2] for key in all_keys)
    return [leaf if leaves[leaf := key.rpartition(".")[2]] == 1 else key for key in keys]


def _all_keys(runs: Sequence[Run]) -> dict[str, None]:
    return dict.fromkeys([*METRICS, *(key for run in runs for key in run.settings)])


def filter_runs(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that fulfil all `conditions`: `KEY=VALUE`, also with !=, <, <=, >, >=.

    A run without a value for the key fulfils != only. Raises ConfigError for a malformed condition or an unknown key,
    and where no run is left.
    """
    kept = list(runs)
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if match is None:
            raise ConfigError(f"--where {condition}: is not KEY=VALUE, nor with !=, <, <=, > or >=")
        key, sign, wanted = resolve_key(match[1], runs), match[2], match[3]
        number = _parse_number(wanted)
        if sign in ORDERS and number is None:
            raise ConfigError(f"--where {condition}: '{wanted}' is not a number; words are compared with = and !=")
        before, kept = kept, [run for run in kept if _fulfils(run, key, sign, wanted, number)]
        if not kept:
            raise ConfigError(f"--where {condition}: no run is left; {_values_hint(key, before, number)}")
    return kept


def _values_hint(key: str, runs: Sequence[Run], number: float | None) -> str:
    """What values the runs have: `data has the values digits, mnist`, `optimizer.lr is between 0.1 and 3`."""
    if key.endswith("_acc") and (number or 0) > 1:
        return "accuracies are fractions"
    values = {as_yaml(run.get(key)): run.get(key) for run in runs if key in run}
    texts = sorted(values, key=lambda text: sort_key(values[text]))
    if not texts:
        return f"none of the runs has a value for {key}"
    if len(texts) > MAX_VALUES and all(map(is_number, values.values())):
        return f"{key} is between {texts[0]} and {texts[-1]}"
    more = f" and {len(texts) - MAX_VALUES} more" if len(texts) > MAX_VALUES else ""
    return f"{key} has the {'values' if len(texts) > 1 else 'value'} {', '.join(texts[:MAX_VALUES])}{more}"


def _parse_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _fulfils(run: Run, key: str, sign: str, wanted: str, number: float | None) -> bool:
    value = run.get(key)
    if sign in ORDERS:
        return number is not None and is_number(value) and ORDERS[sign](value, number)
    if number is not None and is_number(value):
        equal = value == number
    else:
        texts = (as_yaml(value), value) if isinstance(value, str) else (as_yaml(value),)  # with and without quotes
        equal = key in run and wanted.replace(" ", "") in [text.replace(" ", "") for text in texts]
    return equal is (sign != "!=")


def tabulate(
    runs: Sequence[Run],
    group_by: Sequence[str] = (),
    sort: str | None = None,
    over: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> ComparisonTable:
    """One row per run, or one per group of runs with the same values of `group_by`: means, standard deviations and n.

    No mean is over a setting that differs, except for the seed and the settings `over`: the others make groups of their
    own. Sorted by `sort`, lowest first, or highest first for `-KEY`; by default, by the last validation accuracy,
    highest first, with unfinished runs after the finished ones. With `columns`, only these. Raises ConfigError for an
    unknown key.
    """
    keys, told_apart = grouping_keys(runs, group_by, over)
    if keys:
        groups = group_runs(runs, keys)
        rows = [{key: group[0].get(key) for key in keys if key in group[0]} | _means(group) for group in groups]
        _add_tests(rows, groups)
        others = ["n", "unfinished", *(name for key in AVERAGED for name in (key, f"{key}_std"))]
        place = others.index("test_errors")
        others = [*others[:place], *TESTS, *others[place:]]
    else:
        keys = differing_settings(runs)
        groups = [[run] for run in runs]
        rows = [_row(run, keys) for run in runs]
        others = [key for key in METRICS if key not in ("val_loss", "parameters")] + ["folder", "error"]
    present = [*keys, *(key for key in others if key not in keys and any(row.get(key) is not None for row in rows))]
    order = _order(present, rows, groups, sort)
    rows, groups = [rows[index] for index in order], [groups[index] for index in order]
    if columns:
        present = list(dict.fromkeys(key if key in (*present, *others) else resolve_key(key, runs) for key in columns))
        rows = [_completed(row, group, present) for row, group in zip(rows, groups, strict=True)]
    return ComparisonTable(present, rows, groups, told_apart, bool(columns))


def grouping_keys(runs: Sequence[Run], group_by: Sequence[str], over: Sequence[str]) -> tuple[list[str], list[str]]:
    """(all keys that groups differ in, those of them that the user did not ask for); none without `group_by`."""
    keys = list(dict.fromkeys(resolve_key(key, runs) for key in group_by))
    averaged = ("seed", *(resolve_key(key, runs) for key in over))
    differing = [key for key in differing_settings(runs) if not _is_within(key, averaged)] if keys else []
    told_apart = [key for key in without_dependent([*keys, *differing], runs) if key not in keys]
    return keys + told_apart, told_apart


def keys_but_seed(runs: Sequence[Run]) -> list[str]:
    """What to group `runs` by for means over their seeds alone; empty if no two of them differ in the seed alone."""
    differing = without_dependent(differing_settings(runs), runs)
    keys = [key for key in differing if key != "seed"] or ["model"]
    return keys if "seed" in differing and len(group_runs(runs, keys)) < len(runs) else []


def without_dependent(keys: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """`keys` without those that an option determines: with optimizer=sgd,adam, lr and weight_decay differ as well."""

    def is_dependent(key: str) -> bool:
        group = key.partition(".")[0]
        pairs = {(as_yaml(run.get(group)), as_yaml(run.get(key))) for run in runs if key in run and group in run}
        return key != group and group in keys and len(pairs) == len({option for option, _ in pairs})

    return [key for key in keys if not is_dependent(key)]


def _is_within(key: str, groups: Sequence[str]) -> bool:
    """Whether `key` is one of `groups`, or one of their keys: `data.root` is within `data`."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _completed(row: Mapping[str, Any], group: Sequence[Run], columns: Sequence[str]) -> dict[str, Any]:
    """`row` with the values of `columns` that all runs of its group have in common."""
    common = {key: group[0].get(key) for key in columns if key not in row and key in group[0]}
    return {**{key: value for key, value in common.items() if all(run.get(key) == value for run in group)}, **row}


def group_runs(runs: Sequence[Run], keys: Sequence[str]) -> list[list[Run]]:
    """The runs with the same values of `keys` together, groups and runs in the order given."""
    groups: dict[tuple[str | None, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(as_yaml(run.get(key)) if key in run else None for key in keys), []).append(run)
    return list(groups.values())


def _row(run: Run, keys: Sequence[str]) -> dict[str, Any]:
    return {
        **{key: run.settings[key] for key in keys if key in run.settings},
        **run.metrics,
        "status": run.status,
        "folder": str(run.folder),
        "error": run.error or None,
    }


def _means(group: Sequence[Run]) -> dict[str, Any]:
    """Over the finished runs; the standard deviation divides by n - 1."""
    finished = [run for run in group if run.status == "finished"]
    row: dict[str, Any] = {"n": len(finished), "unfinished": len(group) - len(finished) or None}
    for key in AVERAGED:
        values = [run.metrics[key] for run in finished if key in run.metrics]
        if values:
            row[key] = statistics.fmean(values)
            row[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else None
    return row


def _add_tests(rows: Sequence[dict[str, Any]], groups: Sequence[Sequence[Run]]) -> None:
    """Add to each row the 95 % interval of its mean test accuracy, and the p-value against that of the best row.

    The interval is Student's, the test Welch's: over runs that differ in the seed.
    """
    values = [
        [run.metrics[TESTED] for run in group if run.status == "finished" and TESTED in run.metrics] for group in groups
    ]
    if not any(len(some) > 1 for some in values):
        return
    best = max((some for some in values if len(some) > 1), key=statistics.fmean)
    for row, some in zip(rows, values, strict=True):
        low, high = mean_interval(some) or (None, None)
        p_value = None if some is best else welch_test(some, best)
        row.update(zip(TESTS, (low, high, p_value), strict=True))


def _order(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[Run]], sort: str | None
) -> list[int]:
    """The indices of the rows in the order that `tabulate` documents; rows without a value come last."""
    word, descending = ("val_acc", True) if sort is None else (sort.removeprefix("-"), sort.startswith("-"))
    key = word if sort is None or word in columns else resolve_key(word, [run for group in groups for run in group])
    values: list[Any] = [
        row.get(key) if key in columns else group[0].get(key) for row, group in zip(rows, groups, strict=True)
    ]
    losses = [group[0].metrics.get("val_loss", math.inf) for group in groups]
    with_value = [index for index, value in enumerate(values) if value is not None]
    # Sorting is stable: of equal values the lower loss comes first.
    with_value.sort(key=lambda index: losses[index])
    with_value.sort(key=lambda index: sort_key(values[index]), reverse=descending)
    if sort is None:
        with_value.sort(key=lambda index: all(run.status != "finished" for run in groups[index]))
    return with_value + [index for index, value in enumerate(values) if value is None]


def sort_key(value: Any) -> tuple[float, list[str | int]]:
    """Numbers by size, then words, with the numbers in them by size: run9 before run10."""
    if is_number(value):
        return value, []
    return math.inf, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", as_yaml(value))]


def averaged_over(table: ComparisonTable) -> list[str]:
    """The settings that the means are over: they differ among the finished runs of a row."""
    finished = [[run for run in group if run.status == "finished"] for group in table.runs]
    within_rows = {key for group in finished for key in differing_settings(group)}
    return [key for key in differing_settings([run for group in finished for run in group]) if key in within_rows]
