"""`sweep report DIR --serve`: the report over HTTP on this machine's loopback, where other machines do not reach it.

Two paths, `/` (the report) and `/version` (JSON, which the report's script asks for every few seconds), both from memory: no file of
the disk is ever served. A request that names another host is refused, since a web page of a stranger could have its own name lead to
127.0.0.1 and read what is here.
"""

import contextlib
import json
import re
import signal
import socketserver
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from analysis.costs import Costs
from analysis.report import render_report
from analysis.table import ResultTable
from sweep.errors import UserError
from sweep.live_page import LivePage

LOOPBACK = "127.0.0.1"
_OURS = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE | re.ASCII)
_METHODS = "GET, HEAD"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ServeError(UserError):
    """The report cannot be served; the message says why and what to do."""


def serve(folder: str | Path, port: int, show: Callable[[str], None], eps: float = 0.0, costs: Costs | None = None) -> None:
    """Serve the live report of a results folder until this process is interrupted (SIGINT) or ended (SIGTERM).

    Args:
        folder: a path, or the text of an address.
        port: of 127.0.0.1; 0: any free one.
        show: told the report's address, once, when it can be opened.
        eps: where the tolerance slider stands at first, >= 0.
        costs: prices that replace those of the grid file.

    Raises:
        ServeError: the port is taken or not for us.
        ResultsError, StoreError: the folder cannot be read as results.
    """
    with opened(port) as server:
        live = LivePage(folder, partial(_rendered, eps=eps, costs=costs))
        server.live = live
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            show(server.address)
            server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            live.stop()
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def opened(port: int) -> "Iterator[LoopbackServer]":
    """A server that listens; its `live` page is to be set before it serves. Closed with the block.

    Raises:
        ServeError: as for `serve`.
    """
    try:
        server = LoopbackServer((LOOPBACK, port), _Handler)
    except OSError as error:
        hint = "choose another one, or leave --port out for any free one"
        raise ServeError(f"--port {port}: cannot listen on {LOOPBACK}:{port} ({error.strerror})\n  hint: {hint}") from error
    with server:
        yield server


def _rendered(table: ResultTable, version: int, eps: float, costs: Costs | None) -> str:
    return render_report(table, eps=eps, costs=costs, live=version)


class LoopbackServer(ThreadingHTTPServer):
    """Answers each request in a thread of its own, none of which keeps the process alive."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there it would let another program take the port as well
    live: LivePage

    @property
    def address(self) -> str:
        """For a browser on this machine."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Without the base class's question to the name service."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader who went away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    server_version, sys_version = "sweep", ""
    timeout = 30  # seconds without a byte of a request

    def do_GET(self) -> None:
        """The whole answer."""
        if not self._is_for_us():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", f"only for {LOOPBACK} and localhost\n".encode())
        elif self.command not in ("GET", "HEAD"):
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", f"only {_METHODS}\n".encode(), Allow=_METHODS)
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html", self.server.live.page())
        elif self.path == "/version":
            self._send(HTTPStatus.OK, "application/json", json.dumps(asdict(self.server.live.version())).encode())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"only / and /version are here\n")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_CONNECT = do_TRACE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a page asks every few seconds."""

    def _is_for_us(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        return len(hosts) == 1 and _OURS.fullmatch(hosts[0].strip()) is not None

    def _send(self, status: HTTPStatus, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **headers, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
