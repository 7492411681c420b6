"""The hardest digits on the terminal: what they look like, when they are shown, and what a terminal is asked."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY, Command
from digitnet.experiment.results import PREVIEWED
from digitnet.metrics import hardest_images
from digitnet.report import preview

ESCAPE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def test_half_block_is_two_pixels() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., :1, :] = 255  # the upper row of the first cells
    lines = preview.half_blocks(image, ["a caption that is long"], 145)
    assert len(lines) == 15
    assert lines[0] == 28 * "\x1b[38;5;16;48;5;231m\u2580" + "\x1b[0m"  # black above white
    assert lines[1] == 28 * "\x1b[38;5;231;48;5;231m\u2580" + "\x1b[0m"
    assert lines[-1] == "a caption that is long"
    small = preview.half_blocks(image, ["a caption that is long"], 144)  # means of four pixels
    assert len(small) == 8
    assert small[0].startswith("\x1b[38;5;243;48;5;231m\u2580")
    assert small[-1] == "a caption that"


@pytest.mark.parametrize(
    ("width", "rows", "columns"),
    [(80, 2, 5), (74, 2, 5), (73, 3, 4), (100, 2, 5), (14, 10, 1), (13, 0, 0), (145, 2, 5), (300, 1, 10)],
)
def test_digits_fill_the_width(width: int, rows: int, columns: int) -> None:
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    lines = [ESCAPE.sub("", line) for line in preview.half_blocks(images, 10 * ["4 as 9"], width)]
    assert [line.split().count("as") for line in lines if "as" in line] == [
        min(columns, 10 - columns * row) for row in range(rows)
    ]
    assert all(len(line) <= width for line in lines)


def test_without_colours_there_is_ink_or_none() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., 0, :14], image[..., 1, 7:21] = 255, 255
    first = preview.half_blocks(image, [""], 145, colours=False)[0]
    assert first == 7 * "\u2580" + 7 * "\u2588" + 7 * "\u2584" + 7 * " "


def test_hardest_images_are_the_errors_that_the_network_was_surest_of() -> None:
    labels, predicted = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 2, 1])
    assert hardest_images(labels, predicted, torch.tensor([0.9, 0.5, 0.8, 0.7])) == [3, 1]


KITTY, ITERM, SIXEL, PLAIN = b"\x1b_Gi=31;OK\x1b\\", b"\x1bP>|iTerm2 3.5.0\x1b\\", b"\x1b[?62;4;22c", b"\x1b[?62;22c"


@pytest.mark.parametrize(
    ("answer", "typed", "found"),
    [
        (KITTY + PLAIN, b"", True), (ITERM + PLAIN, b"", True), (SIXEL, b"", True),
        (PLAIN, b"", False), (b"\x1b[?4;6c", b"", False), (b"\x1bP>|XTerm(4)\x1b\\\x1b[?64;14;40c", b"", False),
        (b"", b"", False), (b"nonsense \x1b[", b"", False), (SIXEL, b"ls\n", False),
    ],
)  # fmt: skip
def test_terminal_is_asked_whether_it_shows_pictures(answer: bytes, typed: bytes, found: bool) -> None:
    code = (
        "import os; os.setsid(); import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "input() if os.environ['TYPED'] == '' else __import__('time').sleep(1)\n"
        "from digitnet.report.preview import shows_pictures; print('found', shows_pictures())"
    )
    out = _in_terminal([sys.executable, "-c", code], lambda text: answer if b"\x1b[c" in text else b"", typed or b"\n")
    assert f"found {found}" in out.decode(), out
    assert (preview.QUESTIONS in out) is (typed == b"")


def test_background_process_asks_nothing() -> None:
    code = (
        "import os; os.setsid(); import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "if not os.fork():\n"
        "    os.setpgid(0, 0)\n"
        "    from digitnet.report.preview import shows_pictures; print('found', shows_pictures())\n"
        "else: os.wait()"
    )
    out = _in_terminal([sys.executable, "-c", code], lambda _: b"", b"")
    assert b"found False" in out
    assert preview.QUESTIONS not in out


def _in_terminal(words: list[str], answer: Callable[[bytes], bytes], typed: bytes) -> bytes:
    """What the command writes to a terminal that answers once, and on which something is typed at first."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "TYPED": "" if typed == b"\n" else "1"}
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True)
    os.close(theirs)
    os.write(ours, typed)
    text, is_answered = b"", False
    try:
        while part := os.read(ours, 65536):
            text += part
            if not is_answered and (reply := answer(text)):
                os.write(ours, reply)
                is_answered = True
    except OSError:  # Linux's end of file
        pass
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "pictures", "shown"),
    [("true", False, True), ("null", True, True), ("null", False, False), ("false", True, False)],
)
def test_run_on_a_terminal_previews_its_hardest_digits(
    command: Command, monkeypatch: pytest.MonkeyPatch, override: str, pictures: bool, shown: bool
) -> None:
    monkeypatch.setattr("digitnet.report.terminal.shows_pictures", lambda: pictures)
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda _: True))
    out = command(*TINY, f"logger.preview={override}", "hydra.run.dir=run").out
    captions = re.findall(r"\d(?: as \d)?, \d+ %", ESCAPE.sub("", out))
    assert len(captions) == (PREVIEWED if shown else 0)
    assert ("\u2580" in out or "\u2588" in out) is shown
    assert out.index("test accuracy") < out.index(captions[0]) if shown else True
    assert ("the hardest digits, true as predicted, with the probability:" in out) is shown
    assert "\u2580" not in Path("run/train.log").read_text()


@pytest.mark.slow
def test_nothing_is_previewed_in_a_pipe(command: Command) -> None:
    out = command(*TINY, "logger.preview=true").out
    assert " as " not in out
    assert "\u2580" not in out
