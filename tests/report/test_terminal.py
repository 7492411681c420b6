"""What a sweep shows on the terminal while jobs run."""

import io

from rich.console import Console

from digitnet.report.terminal import JobRow, SweepView


def rendered(view: SweepView, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    view._console = console  # type: ignore[assignment]
    console.print(view._render())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_running_jobs_are_shown_as_far_as_the_terminal_has_room() -> None:
    view = SweepView()
    rows = [
        JobRow(f"lr={n},seed=0", n, 10, 0.9 + n / 100 if n else None, 60.0 if n else None, 6.0 * n + 2)
        for n in range(4)
    ]
    view.update(rows, "4 running, 2 waiting; 1:30 left")
    assert rendered(view, 80, 24) == [
        "job          epoch  val acc  time  left",
        "lr=0,seed=0   0/10           0:02",
        "lr=1,seed=0   1/10  91.00 %  0:08  0:52",
        "lr=2,seed=0   2/10  92.00 %  0:14  0:46",
        "lr=3,seed=0   3/10  93.00 %  0:20  0:40",
        "4 running, 2 waiting; 1:30 left",
    ]
    assert rendered(view, 80, 6) == [
        "job          epoch  val acc  time  left",
        "lr=0,seed=0   0/10           0:02",
        "lr=1,seed=0   1/10  91.00 %  0:08  0:52",
        "and 2 more",
        "4 running, 2 waiting; 1:30 left",
    ]
    assert all(len(line) <= 28 for line in rendered(view, 28, 24)[:-1])
