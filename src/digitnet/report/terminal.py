"""Output on the terminal, and its copy in train.log. The only file that imports rich."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len as cell_len
from rich.cells import set_cell_size as set_cell_size
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from digitnet.atomic import open_regular
from digitnet.report.preview import half_blocks, shows_pictures
from digitnet.report.run_lines import COLUMNS, DISPENSABLE, result_line
from digitnet.runs.formats import RunSummary
from digitnet.runs.observer import StartedRun
from digitnet.streams import drop_output
from digitnet.text import duration, printable, short_path, shown
from digitnet.training.record import EpochRecord

if TYPE_CHECKING:
    from torch import Tensor

Digits = tuple["Tensor", Sequence[str]]  # images (N, 1, 28, 28) uint8, and their captions
WORKING_SECONDS = 5.0  # without a word
# Readable on black as on white: rich's own cyan and yellow are not, and its grey23 looks like ink on white.
THEME = Theme(
    {
        "bar.back": "grey50",
        "bar.complete": "magenta",
        "bar.finished": "magenta",
        "bar.pulse": "magenta",
        "progress.remaining": "none",
        "progress.percentage": "none",
    }
)


class _Terminal(Console):
    """Prints text literally (no markup, no emoji codes in paths); after a closed pipe (`| head`), prints nothing."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, theme=THEME)

    def warning(self, text: str) -> None:
        """Print `warning: …`, with the first word in colour."""
        line = Text.assemble(("warning:", "bold magenta"), f" {text}")
        self.print(line, soft_wrap=not self.is_terminal)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        drop_output()


class Terminal:
    """An observer that prints a run's progress: lines and, on a terminal, a progress bar.

    All lines are also written to `log`, if there is one; if `quiet`, only there.
    """

    def __init__(self, log: Path | None, run_dir: Path, append: bool = False, quiet: bool = False) -> None:
        self._console = _Terminal()
        self._console.quiet = quiet
        self._log, self._run_dir, self._epochs = log, run_dir, 0
        self._digits: Digits | None = None
        mode = "a" if append else "w"
        self._file = open(log, mode, encoding="utf-8", opener=open_regular) if log else io.StringIO()  # noqa: SIM115
        self._columns: list[str] = []

    def line(self, text: str = "", style: str | None = None, *, whole: bool = False) -> None:
        """Print `text`, wrapped to a narrow terminal; `whole` lines are not wrapped, so that they can be copied."""
        text = printable(text)
        self._console.print(text, style=style, soft_wrap=whole or not self._console.is_terminal)
        self._write(text)

    def _write(self, text: str) -> None:
        """Write a line to the log, also after `end`: a tracker may fail there. Raises OSError."""
        try:
            if self._file.closed and self._log is not None:
                with open(self._log, "a", encoding="utf-8", opener=open_regular) as file:
                    file.write(text + "\n")
                return
            self._file.write(text + "\n")
            self._file.flush()
        except OSError as error:  # the error of a full disk does not name the file
            raise OSError(error.errno, error.strerror, str(self._log)) from error

    def warning(self, text: str) -> None:
        self._console.warning(printable(text))
        self._write(f"warning: {printable(text)}")

    def start(self, run: StartedRun) -> None:
        """Print what is trained, warnings, and where a resumed run starts."""
        self._epochs = run.epochs
        for line in run.introduction:
            self.line(line, "dim" if line.startswith("note: ") else None)
        for warning in run.warnings:
            self.warning(warning)
        if run.starting_point is not None:
            self.line(run.starting_point)

    def epoch(self, record: EpochRecord) -> None:
        """Print a row of the epoch table and, before the first row, the headings."""
        epochs = self._epochs
        label = f"{record.epoch}/{epochs}"
        if not self._columns:
            self._columns = self._fitting(len(f"{epochs}/{epochs}"))
            heading = "epoch".rjust(max(5, len(f"{epochs}/{epochs}")))
            self.line("  ".join([heading, *(name.rjust(COLUMNS[name][0]) for name in self._columns)]), "bold")
        cells = [COLUMNS[name][1](record).rjust(COLUMNS[name][0]) for name in self._columns]
        self.line("  ".join([label.rjust(max(5, len(f"{epochs}/{epochs}"))), *cells]))

    def _fitting(self, label_width: int) -> list[str]:
        """The columns that fit the terminal's width; all of them if there is no terminal."""
        names = list(COLUMNS)
        for name in DISPENSABLE:
            width = max(5, label_width) + sum(2 + COLUMNS[kept][0] for kept in names)
            if not self._console.is_terminal or width <= self._console.width:
                break
            names.remove(name)
        return names

    @contextmanager
    def progress(self, steps_done: Callable[[], int], steps: int, steps_per_epoch: int) -> Iterator[None]:
        """In this block, show a progress bar below the rows; it calls `steps_done()` four times a second."""
        if not self._console.is_terminal:
            yield
            return
        bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TaskProgressColumn("{task.percentage:>3.0f} % of the run,"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("left"),
            console=self._console,
            expand=True,
            auto_refresh=False,
        )
        task = bar.add_task("", total=steps, completed=steps_done(), epoch="")

        def render() -> Constrain:
            done = steps_done()
            current = min(done // steps_per_epoch + 1, steps // steps_per_epoch)
            bar.update(task, completed=done, epoch=f"{current}/{steps // steps_per_epoch}")
            return Constrain(bar, self._console.width - len("^C"))  # the terminal shows it there on Ctrl-C

        with Live(get_renderable=render, console=self._console, refresh_per_second=4, transient=True):
            yield

    def end(self, summary: RunSummary) -> None:
        """Print the result and the run's folder with its pictures, if the run finished, and close the log."""
        try:
            if summary.status == "finished" and summary.test is not None:
                self.line(result_line(summary), "bold")
                pictures = ", ".join(sorted(path.name for path in self._run_dir.glob("*.png")))
                self.line(f"{short_path(self._run_dir)}{': ' if pictures else ''}{pictures}", whole=True)
                self._show_digits()
        finally:
            with contextlib.suppress(OSError):  # `line` has raised it already
                self._file.close()

    def preview(self, digits: Digits, wanted: bool | None) -> None:
        """Show digits below the result, on a terminal only; None: if the terminal says that it shows pictures."""
        if self._console.is_terminal and not self._console.quiet and wanted is not False:
            self._digits = digits if wanted or shows_pictures() else None

    def _show_digits(self) -> None:
        if self._digits is not None:
            console = self._console
            colours = console.color_system is not None and not console.no_color
            console.print("the hardest digits, true as predicted, with the probability:")
            for line in half_blocks(*self._digits, console.width, colours):
                console.print(Text.from_ansi(line), no_wrap=True, crop=False)


@dataclass(frozen=True)
class JobRow:
    """A running job: `epoch` of `epochs` are finished, `elapsed` seconds have passed of about `seconds`."""

    name: str
    epoch: int
    epochs: int
    val_acc: float | None
    seconds: float | None
    elapsed: float

    @property
    def left(self) -> float | None:
        """Estimated seconds until it finishes; None before the first epoch."""
        return None if self.seconds is None else max(0.0, self.seconds - self.elapsed)


JOB_COLUMNS = (("job", "left"), ("epoch", "right"), ("val acc", "right"), ("time", "right"), ("left", "right"))


class SweepView:
    """Prints a line for each job that ended and, on a terminal, shows the running jobs below."""

    def __init__(self) -> None:
        self._console = _Terminal()
        self._rows: list[JobRow] = []
        self._below = ""

    def line(self, text: str = "", style: str | None = None) -> None:
        self._console.print(shown(text), style=style, soft_wrap=not self._console.is_terminal)

    def warning(self, text: str) -> None:
        self._console.warning(shown(text))

    def update(self, rows: list[JobRow], below: str) -> None:
        """Set what is shown: the running jobs, and a line `below` them about all jobs."""
        self._rows, self._below = rows, below

    @contextmanager
    def live(self) -> Iterator[None]:
        """In this block, show the running jobs, if this is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True):
            yield

    def _render(self) -> Group:
        """The table of running jobs, as many as fit the terminal's height."""
        room = max(1, self._console.height - 4)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading, justify in JOB_COLUMNS:
            table.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for row in self._rows[:room]:
            accuracy = "" if row.val_acc is None else f"{100 * row.val_acc:.2f} %"
            left = "" if row.left is None else duration(row.left)
            table.add_row(printable(row.name), f"{row.epoch}/{row.epochs}", accuracy, duration(row.elapsed), left)
        more: list[RenderableType] = [Text(f"and {len(self._rows) - room} more")] if len(self._rows) > room else []
        return Group(*([table, *more] if self._rows else more), Text(self._below))


@contextmanager
def working(what: str, count: int, to_terminal_only: bool = False) -> Iterator[Callable[[], None]]:
    """Yields a function to call before each of `count` pieces of work; after some seconds, stderr tells how far it is.

    On a terminal the line is overwritten, and erased at the end.
    """
    console = _Terminal(stderr=True)
    console.quiet = to_terminal_only and not console.is_terminal
    started = time.monotonic()
    done, due = 0, started + WORKING_SECONDS

    def step() -> None:
        nonlocal due, done
        now = time.monotonic()
        if now >= due:
            due = now + 1.0 if console.is_terminal else started + 2 * (now - started)  # a file gets ever fewer lines
            left = duration((now - started) / done * (count - done)) if done else "?"
            console.print(f"{what} {done:,} of {count:,}; {left} left", end="\r" if console.is_terminal else "\n")
        done += 1

    try:
        yield step
    finally:
        if console.is_terminal and due > started + WORKING_SECONDS:
            console.print(" " * (console.width - 1), end="\r")


def print_lines(heading: str, rows: Sequence[str], title: str = "") -> None:
    """Print `printable` lines as they are, however long: a table that is laid out, with its heading in bold."""
    console = _Terminal()
    if title:
        console.print(title, soft_wrap=True)
    console.print(heading, style="bold", soft_wrap=True)
    console.print("\n".join(rows), soft_wrap=True)


def terminal_width() -> int | None:
    """The columns of the terminal; None if stdout is none, so that there is no limit."""
    console = _Terminal()
    return console.width if console.is_terminal else None


def show_stop(message: str) -> None:
    """Print to stderr that the user stopped the command, which is no error."""
    _Terminal(stderr=True).print(shown(message), soft_wrap=True)


def show_error(message: str) -> None:
    """Print `error: …` to stderr, red on a terminal."""
    console = _Terminal(stderr=True)
    console.print("error:", style="bold red", end=" ")
    console.print(shown(message), soft_wrap=True)
