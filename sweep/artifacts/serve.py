"""The live report of a running sweep, and the server that offers it on loopback."""

import contextlib
import json
import re
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, TypeAlias

from analysis.measures.costs import Costs
from analysis.pareto.dominance import Mode
from analysis.report.page import render_report
from analysis.results.table import ResultTable, read_results
from sweep.errors import UserError
from sweep.store.files import reading
from sweep.store.folder import Folder
from sweep.store.store import Store

POLL_S = 2.0
_REMOTE_POLL_S = 10.0  # each reading of an object store takes four requests
_REST = 10.0  # the pause after a reading, as a multiple of the processor time that it took
_PATIENCE_S = 20.0
_AT_THE_TOP = ("manifest.json", "trials.parquet")

Activity: TypeAlias = Literal["running", "paused", "ended"]
Files: TypeAlias = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True)
class Rendered:
    """A rendered page and the numbers of trials that it shows."""

    page: bytes
    version: int
    """The time at which rendering began, in milliseconds since 1970; later pages have larger numbers."""
    complete: int
    planned: int


@dataclass(frozen=True)
class Version:
    """The state that an open page polls for."""

    version: int
    """The version of the newest page."""
    complete: int
    """Number of complete trials that the page shows."""
    planned: int
    """Number of planned trials."""
    state: Activity
    """Whether the run is active, paused or has ended."""
    problem: str | None
    """Why the folder could not be read the last time, in one line; None if it could."""
    poll_s: float
    """The number of seconds after which the page should poll again."""


class LivePage:
    """The newest page of a results folder, rendered in a thread that `stop` ends.

    Args:
        folder: the results folder, as a path or the text of an address.
        render: returns the HTML for a table and a version.
        poll_s: the shortest time between two readings of the folder, in seconds; None uses the default for a disk or an object store.

    Raises:
        ResultsError, StoreError: the folder cannot be read as results.
    """

    def __init__(self, folder: str | Path, render: Callable[[ResultTable, int], str], poll_s: float | None = None) -> None:
        self._place = folder
        self._store = Store(folder)
        self._folder = Folder(self._store.root)
        self._render = render
        self._poll_s = poll_s if poll_s is not None else _REMOTE_POLL_S if self._store.is_remote else POLL_S
        self._store.check_reachable()
        self._files: Files | None = None
        self._rendered = Rendered(b"", 0, 0, 0)
        self._activity: Activity = "ended"
        self._problem: str | None = None
        self._look()
        self._turn = threading.Condition()
        self._is_asked = self._is_idle = False
        self._n_looks = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="live report", daemon=True)
        self._thread.start()

    def page(self) -> bytes:
        """Return the HTML of the page. If there was no request for a while, wait until the folder has been read again."""
        with self._turn:
            n_looks, was_idle = self._n_looks, self._is_idle
            self._ask()
            if was_idle:
                self._turn.wait_for(lambda: self._n_looks > n_looks, _PATIENCE_S)
        return self._rendered.page

    def version(self) -> Version:
        """Return the version of the page that `page` would return now, and make the thread read the folder soon."""
        with self._turn:
            self._ask()
        shown = self._rendered
        return Version(shown.version, shown.complete, shown.planned, self._activity, self._problem, self._poll_s)

    def stop(self, patience_s: float = 5.0) -> None:
        """End the thread, and wait at most `patience_s` seconds for a reading in progress."""
        self._stopped.set()
        with self._turn:
            self._ask()
        self._thread.join(patience_s)

    def _ask(self) -> None:
        self._is_asked = True
        self._turn.notify_all()

    def _follow(self) -> None:
        """Run the thread's loop: read the folder when a request has come, then rest."""
        seconds = 0.0
        while not self._stopped.wait(max(self._poll_s, _REST * seconds) if self._n_looks else 0):
            with self._turn:
                self._is_idle = not self._is_asked
                self._turn.wait_for(lambda: self._is_asked)
                self._is_idle = self._is_asked = False
            if self._stopped.is_set():
                return
            began = time.process_time()
            self._try_to_look()
            seconds = time.process_time() - began
            with self._turn:
                self._n_looks += 1
                self._turn.notify_all()

    def _try_to_look(self) -> None:
        """Read the folder; if that fails for any reason, the last good page is kept."""
        try:
            self._look()
            self._problem = None
        except Exception as error:  # noqa: BLE001 - the thread's edge: the folder may be readable again the next time
            self._problem = (str(error).strip().splitlines() or [type(error).__name__])[0]

    def _look(self) -> None:
        """Render the page again if the folder has changed."""
        files = self._found_files()  # read first, so that files which arrive while the page is rendered count as a change the next time
        if files != self._files:
            self._rendered = self._new_page()
            self._files = files
        self._activity = self._found_activity()

    def _new_page(self) -> Rendered:
        version = max(time.time_ns() // 1_000_000, self._rendered.version + 1)
        table = read_results(self._place)
        page = self._render(table, version).encode("utf-8", "replace")
        counts = table.counts
        return Rendered(page, version, counts["planned"] - counts["missing"], counts["planned"])

    def _found_files(self) -> Files:
        """Return the name, inode, time and size of every file on which the report depends.

        Curves need not be included, because they are published before their row.
        """
        paths = [path for path in self._folder.paths(".") if path.name in _AT_THE_TOP]
        found = set()
        for path in (*paths, *self._folder.paths("plans", ".json"), *self._folder.paths("rows", ".parquet")):
            try:
                with reading(path, "looked at"):
                    status = path.stat()
            except FileNotFoundError:
                continue  # compacted meanwhile
            found.add((f"{path.parent.name}/{path.name}", status.st_ino, status.st_mtime_ns, status.st_size))
        return frozenset(found)

    def _found_activity(self) -> Activity:
        if self._store.lock_holder(include_dead=False) is None:
            return "ended"
        return "paused" if self._store.control.pause_requested() else "running"


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
    """The report cannot be served; the message states why and what to do."""


def serve(
    folder: str | Path, port: int, show: Callable[[str], None], eps: float = 0.0, costs: Costs | None = None, mode: Mode = "range"
) -> None:
    """Serve the live report of a results folder until this process is interrupted (SIGINT) or ended (SIGTERM).

    Args:
        folder: the results folder, as a path or the text of an address.
        port: port on 127.0.0.1; 0 chooses a free one.
        show: called once with the report's address, as soon as it can be opened.
        eps: initial position of the tolerance slider, >= 0.
        costs: prices that replace those of the grid file.
        mode: what eps is relative to, as in `analysis.label_points`.

    Raises:
        ServeError: the port is in use or forbidden.
        ResultsError, StoreError: the folder cannot be read as results.
    """
    with opened(port) as server:
        live = LivePage(folder, partial(_rendered, eps=eps, costs=costs, mode=mode))
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
    """Open a listening server, which is closed at the end of the block. Set its `live` page before it serves requests.

    Raises:
        ServeError: the port is in use or forbidden.
    """
    try:
        server = LoopbackServer((LOOPBACK, port), _Handler)
    except OSError as error:
        hint = "choose another one, or leave --port out for any free one"
        raise ServeError(f"--port {port}: cannot listen on {LOOPBACK}:{port} ({error.strerror})\n  hint: {hint}") from error
    with server:
        yield server


def _rendered(table: ResultTable, version: int, eps: float, costs: Costs | None, mode: Mode) -> str:
    return render_report(table, eps=eps, mode=mode, costs=costs, live=version)


class LoopbackServer(ThreadingHTTPServer):
    """A server that answers each request in its own thread; these threads do not keep the process alive."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # on Windows it would let another program use the same port
    live: LivePage

    @property
    def address(self) -> str:
        """The address for a browser on this machine."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Bind the socket without the base class's query to the name service."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect in the middle of an answer."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    server_version, sys_version = "sweep", ""
    timeout = 30  # seconds without receiving a byte of a request

    def do_GET(self) -> None:
        """Answer a request."""
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
        """Log nothing, because an open page polls every few seconds."""

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
