"""The process of one tracker: `python -m digitnet.report.trackers.child`, which `trackers.process` starts.

It reads pickled messages from standard input, and answers each with a line of JSON on standard output. A tracker's
library may import for seconds, start threads, print, hang or crash: none of this is in the process that trains. If its
input ends without an Outcome, the training process was killed, and the tracked run is marked so.
"""

import contextlib
import json
import os
import pickle
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

from digitnet.atomic import write_atomically
from digitnet.report.trackers.tracker import Message, Outcome, Sent, TrackedRun, Tracker, Values, read_sent, sent_file
from digitnet.signals import STOP_SIGNALS
from digitnet.text import one_line

EXIT_SECONDS = 60.0  # after the input has ended: nobody waits any more
NICE = 5  # training takes precedence


class Relay:
    """Passes messages on to the tracker, but for epochs and steps that it has."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker, self._sent, self._path = tracker, Sent(), Path()

    def take(self, message: Message) -> None:
        """Raises whatever the tracker raises, and OSError."""
        match message:
            case TrackedRun():
                self._path = sent_file(message.folder, self._tracker.name)
                self._sent = read_sent(self._path)
                run = self._tracker.start(message, self._sent.run)
                self._sent = replace(self._sent, is_ended=False) if run == self._sent.run else Sent(run)
            case Values(axis, number, values):
                if number <= getattr(self._sent, axis):
                    return
                self._tracker.log(axis, number, values)
                setattr(self._sent, axis, number)
            case Outcome():
                self._tracker.end(message)
                self._sent.is_ended = message.status == "finished"
        write_atomically(self._path, json.dumps(asdict(self._sent)).encode())


def main() -> None:
    """Serve until the run has ended, or its process is gone."""
    for number in STOP_SIGNALS:  # sent to the training process; this one ends when its input does
        signal.signal(number, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICE)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    tracker: Tracker = pickle.load(sys.stdin.buffer)
    relay, message = Relay(tracker), None
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=[messages], daemon=True).start()
    failure: str | None = None
    address: str | None = None
    while not isinstance(message, Outcome) and failure is None:
        message = messages.get()
        try:
            relay.take(message)
            address = tracker.address
        except BaseException as error:  # a library may even exit
            import traceback

            traceback.print_exc()
            failure = one_line(error)
        with contextlib.suppress(BrokenPipeError):  # the training process is gone
            answers.write(json.dumps({"failure": failure, "address": address}) + "\n")
            answers.flush()
    os._exit(0 if failure is None else 1)  # no thread of a library may keep it


def _receive(messages: "queue.SimpleQueue[Message]") -> None:
    """Pass on the messages; after the last one, end this process, should a library hang."""
    message: Message | None = None
    while not isinstance(message, Outcome):
        try:
            message = pickle.load(sys.stdin.buffer)
        except Exception:  # the input has ended, perhaps within a message
            message = Outcome("killed", 0, {}, ())
        messages.put(message)
    time.sleep(EXIT_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
