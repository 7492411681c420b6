"""Serves a report's page on this machine, and what has changed since: to follow runs while they train."""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from digitnet.errors import ConfigError, DigitnetError
from digitnet.report.page import render_page
from digitnet.text import one_line

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")

Content = Callable[[bool], Mapping[str, Any]]  # with the network and its images, or without: that takes milliseconds


def page_server(content: Content, port: int) -> ThreadingHTTPServer:
    """A server of `/`, the page of `content(True)`, and `/data.json`, `content(False)`; port 0: any that is free.

    It answers requests to this machine by its own names alone, so that no page of the web can read it under a name that
    it has pointed here (DNS rebinding). Raises ConfigError if the port cannot be had.
    """
    computing = threading.Lock()  # one page at a time: PyTorch takes all cores

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
                self.send_error(403)
            elif self.path == "/":
                self._answer("text/html", lambda: render_page({**content(True), "live": True}))
            elif self.path == "/data.json":
                self._answer("application/json", lambda: json.dumps(content(False)))
            else:
                self.send_error(404)

        def _answer(self, kind: str, text: Callable[[], str]) -> None:
            try:
                with computing:
                    body, status = text().encode(), 200
            except (DigitnetError, OSError) as error:  # the runs were removed
                body, status, kind = one_line(error).encode(), 500, "text/plain"
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # a page that was closed meanwhile
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not worth a line."""

    try:
        return ThreadingHTTPServer((ADDRESS, port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--port {port}: cannot be used ({one_line(error)}); leave it out, or give another"
        ) from error
