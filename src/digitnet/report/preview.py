"""Digits on the terminal, in half-block characters: each is two pixels, one above the other."""

import contextlib
import math
import os
import re
import select
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

GREYS = (16, *range(232, 256), 231)  # of the 256 colours: black, 24 greys, white
SMALL, LARGE = 14, 28  # columns of a digit; the large ones if five fit in a row
ROW = 5
BLOCKS = {(True, True): "\u2588", (True, False): "\u2580", (False, True): "\u2584", (False, False): " "}
REPLY_SECONDS = 0.5

# Kitty's graphics protocol, "Querying support and available transmission mediums"; xterm's control sequences,
# "XTVERSION" and "Send Device Attributes", which every terminal answers, and last: its answer ends the others.
QUESTIONS = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[>q\x1b[c"
END = re.compile(rb"\x1b\[\?([\d;]*)c")
CLEARED = b"\r\x1b[K"  # the line, where a terminal has printed a question that it does not know
SIXEL = b"4"  # among the attributes


def half_blocks(images: "Tensor", captions: Sequence[str], width: int, colours: bool = True) -> list[str]:
    """Lines that show images (N, 1, 28, 28) uint8 and their captions in `width` columns.

    In 26 greys, with escapes of the 256 colours, black on white as on paper; or, without `colours`, ink or none. Half
    the resolution, unless five digits in full fit in a row.
    """
    if width < SMALL:
        return []
    cells = _grey_cells if colours else _plain_cells
    columns = LARGE if width >= ROW * (LARGE + 1) else SMALL
    each = LARGE // columns
    pixels = images.float().reshape(-1, columns, each, columns, each).mean((2, 4))
    greys = ((1 - pixels / 255) * (len(GREYS) - 1)).round().long().tolist()  # (N, columns, columns)
    most = max(1, (width + 1) // (columns + 1))
    in_row = math.ceil(len(greys) / math.ceil(len(greys) / most))  # rows of equal length, if that is possible
    lines = []
    for first in range(0, len(greys), in_row):
        row = greys[first : first + in_row]
        for above in range(0, columns, 2):
            lines.append(" ".join(cells(digit[above], digit[above + 1]) for digit in row))
        lines.append(" ".join(f"{text[:columns]:<{columns}}" for text in captions[first : first + in_row]).rstrip())
    return lines


def _grey_cells(above: Sequence[int], below: Sequence[int]) -> str:
    cells = (f"\x1b[38;5;{GREYS[one]};48;5;{GREYS[other]}m\u2580" for one, other in zip(above, below, strict=True))
    return "".join(cells) + "\x1b[0m"


def _plain_cells(above: Sequence[int], below: Sequence[int]) -> str:
    middle = len(GREYS) // 2
    return "".join(BLOCKS[one < middle, other < middle] for one, other in zip(above, below, strict=True))


def shows_pictures() -> bool:
    """Whether the terminal says, when it is asked, that it shows pictures: kitty's, iTerm2's or sixels.

    Variables like TERM_PROGRAM would be a guess: they outlive ssh and tmux. False if there is no terminal, if it does
    not answer within half a second, or if keys have been typed, which would be read instead.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no termios
        answer = _ask(sys.stdin.fileno())
        attributes = END.search(answer)
        has_sixels = attributes is not None and SIXEL in attributes[1].split(b";")[1:]
        return has_sixels or b"_Gi=31;OK" in answer or b"iTerm2" in answer
    return False


def _ask(terminal: int) -> bytes:
    """The terminal's answer to QUESTIONS. Raises OSError, ImportError."""
    import termios
    import tty

    if os.tcgetpgrp(terminal) != os.getpgrp():  # in the background, reading would stop this process
        return b""
    before = termios.tcgetattr(terminal)
    answer = b""
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        if select.select([terminal], [], [], 0)[0]:
            return b""
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), QUESTIONS + CLEARED)
        deadline = time.monotonic() + REPLY_SECONDS
        while not END.search(answer) and select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            answer += os.read(terminal, 1024)
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    return answer
