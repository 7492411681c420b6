"""Evaluates the runs of benchmarks/results.py on MNIST, and writes what it finds into docs/results.md.

The intervals of LeNet-5's seeds, their ensemble, McNemar's test of LeNet-5 against fast99, and the accuracy under
corruptions. First: python benchmarks/results.py --rows lenet5 distort allconv_short fast99
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from digitnet.experiment.evaluation import RunEvaluation, compare_runs, evaluate_ensemble, evaluate_networks
from digitnet.experiment.robustness import CORRUPTION_CHANGES, SHIFT_CHANGES, Change, evaluate_changes
from digitnet.experiment.trained import open_trained
from digitnet.report.evaluation_plot import draw_shifts
from documents import CHECKOUT, processor, write_section
from results import FEWEST_RUNS, finished_runs, torch_version
from rows import ROWS

SCRIPT = "benchmarks/evaluation.py"
NEEDED = {"lenet5": "LeNet-5", "distort": "LeNet-5 with distortions", "allconv_short": "all-convolutional"}
AGAINST = "fast99"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("outputs/results"), help="where results.py has put them")
    options = parser.parse_args()
    found = {row.name: runs for row, runs in finished_runs(options.runs).items()}
    for name in (*NEEDED, AGAINST):
        if len(found.get(name, [])) < FEWEST_RUNS:
            raise SystemExit(f"{options.runs}: {name} needs {FEWEST_RUNS} runs; first: python benchmarks/results.py")
    version = torch_version(run for name in (*NEEDED, AGAINST) for run in found[name])
    networks = {name: [open_trained(run.folder) for run in found[name]] for name in (*NEEDED, AGAINST)}
    lenets, others = evaluate_networks(networks["lenet5"]), evaluate_networks(networks[AGAINST])
    corrupted = {name: evaluate_changes(networks[name], (), "test", CORRUPTION_CHANGES, _nothing) for name in NEEDED}
    shifted = {name: evaluate_changes(networks[name], (), "test", SHIFT_CHANGES, _nothing) for name in NEEDED}
    lines = [
        *single_lines(lenets),
        "",
        *against_lines(lenets, others),
        "",
        *corruption_lines(corrupted),
        "",
        f"On the test set; {processor()}, torch {version}. Remade by `python {SCRIPT}`, after `benchmarks/results.py`.",
        "",
    ]
    write_section("docs/results.md", SCRIPT, "\n".join(lines))
    draw(shifted)
    print("\n".join(lines))


def _nothing() -> None:
    pass


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def single_lines(evaluations: Sequence[RunEvaluation]) -> list[str]:
    """A row for each seed of LeNet-5, with its interval, and for their ensemble."""
    together = evaluate_ensemble(evaluations)
    lines = [
        "| network | accuracy | 95 % interval | errors | without the 15 wrong labels | loss | calibration error |",
        "|---|---|---|---|---|---|---|",
    ]
    names = [f"LeNet-5, seed {seed}" for seed in range(len(evaluations))]
    for name, one in zip([*names, f"mean of these {len(evaluations)}"], [*evaluations, together.mean], strict=True):
        low, high = one.interval
        rest = one.without_wrong_labels
        lines.append(
            f"| {name} | {percent(one.score.accuracy)} | {100 * low:.2f} to {percent(high)} | {one.score.errors} | "
            f"{'' if rest is None else rest.errors} | {one.score.loss:.4f} | {percent(one.calibration_error)} |"
        )
    lines.append(f"| their majority vote | {percent(together.vote.accuracy)} | | {together.vote.errors} | | | |")
    return lines


def against_lines(first: Sequence[RunEvaluation], second: Sequence[RunEvaluation]) -> list[str]:
    """McNemar's test of LeNet-5 against fast99, seed by seed."""
    lines = [
        "| seeds | right only by LeNet-5 | right only by fast99 | difference, 95 % interval | exact McNemar |",
        "|---|---|---|---|---|",
    ]
    for one, other in zip(first, second, strict=False):
        found = compare_runs(one, other)
        low, high = found.interval
        lines.append(
            f"| {one.folder.name} and {other.folder.name} | {len(found.only_first)} | {len(found.only_second)} | "
            f"{100 * found.difference:+.2f}, "
            f"{100 * low:+.2f} to {100 * high:+.2f} points | p = {found.p_value:.3g} |"
        )
    return lines


def corruption_lines(corrupted: dict[str, list[Change]]) -> list[str]:
    """A row for each corruption: mean ± standard deviation of the accuracy over the seeds."""

    def cell(fractions: Sequence[float]) -> str:
        return f"{100 * statistics.mean(fractions):.1f} ± {100 * statistics.stdev(fractions):.1f} %"

    counts = {name: len(changes[0].scores) for name, changes in corrupted.items()}
    lines = [f"| corruption | {' | '.join(f'{NEEDED[name]} (n = {counts[name]})' for name in corrupted)} |"]
    lines.append("|---" * (len(corrupted) + 1) + "|")
    for number, (kind, _) in enumerate(CORRUPTION_CHANGES):
        cells = [cell([score.accuracy for score in changes[number].scores]) for changes in corrupted.values()]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    errors = []
    for name, changes in corrupted.items():
        errors.append(
            cell([statistics.mean(1 - one.scores[n].accuracy for one in changes[1:]) for n in range(counts[name])])
        )
    lines.append(f"| **mean corruption error** | {' | '.join(errors)} |")
    commands = {row.name: row.command for row in ROWS}
    lines += ["", "; ".join(f"{what}: `{commands[name]}`" for name, what in NEEDED.items()) + "."]
    return lines


def draw(shifted: dict[str, list[Change]]) -> None:
    """The picture of docs/results.md."""
    curves = []
    for kind, label in (("translation", "pixels to the right"), ("rotation", "degrees, counter-clockwise")):
        places = [n for n, change in enumerate(next(iter(shifted.values()))) if change.kind == kind]
        amounts = [next(iter(shifted.values()))[n].amount for n in places]
        means = [
            [statistics.mean(score.accuracy for score in changes[n].scores) for changes in shifted.values()]
            for n in places
        ]
        curves.append((kind.capitalize(), label, amounts, means))
    draw_shifts(CHECKOUT / "docs" / "shift.png", curves, [NEEDED[name] for name in shifted])


if __name__ == "__main__":
    main()
