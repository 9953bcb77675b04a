"""A real HTTP server that speaks S3 (moto's) in a process of its own, and a proxy before it that fails on purpose."""

import contextlib
import http.client
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from waiting import patience

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
_START_S = 60.0


@dataclass(frozen=True)
class ObjectStore:
    """Where the server listens."""

    port: int

    def address(self, bucket: str, prefix: str = "results", port: int | None = None) -> str:
        """Of a results folder; `port` is a proxy's."""
        return f"s3://{bucket}/{prefix}?endpoint_override=127.0.0.1:{port or self.port}&scheme=http"

    def make_bucket(self, bucket: str) -> str:
        """A new and empty one; returns its name."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{bucket}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        return bucket


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """moto's server, ended with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **CREDENTIALS})
    try:
        deadline = time.monotonic() + patience(_START_S)
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield ObjectStore(port)
    finally:
        server.kill()
        server.wait()


Answer = tuple[int, bytes]


@dataclass
class Proxy:
    """Passes requests on, counts them, and answers some of them itself."""

    port: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """method -> number of requests."""
    requests: list[str] = field(default_factory=list)
    """`METHOD path` of each, in order."""
    n_faults: int = 0
    content_type: str = "application/xml"
    """Of faults. Azure's client ends the process where a HEAD is answered so, without the XML."""
    fault: Callable[[str], Answer | None] = lambda request: None
    """What to answer instead, from `METHOD path`; None passes it on."""
    delay_s: Callable[[str], float] = lambda request: 0.0

    def reset(self) -> None:
        """Count from zero."""
        self.counts.clear()
        self.requests.clear()
        self.n_faults = 0


def failing_share(share: float, seed: int = 0) -> Callable[[str], Answer | None]:
    """A seeded share of all requests, half of them an internal error, half a request to slow down."""
    source, lock = random.Random(seed), threading.Lock()

    def fault(request: str) -> Answer | None:
        with lock:
            if source.random() >= share:
                return None
            is_busy = source.random() < 0.5
        code, name = (503, "SlowDown") if is_busy else (500, "InternalError")
        return code, f'<?xml version="1.0"?><Error><Code>{name}</Code><Message>injected</Message></Error>'.encode()

    return fault


@contextlib.contextmanager
def proxy_before(store: ObjectStore) -> Iterator[Proxy]:
    """A proxy on a loopback port of its own, ended with the block."""
    proxy = Proxy()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def pass_on(self) -> None:
            body = self._body()
            request = f"{self.command} {self.path}"
            with lock:
                proxy.counts[self.command] += 1
                proxy.requests.append(request)
            time.sleep(proxy.delay_s(request))
            answer = proxy.fault(request)
            if answer is not None:
                proxy.n_faults += 1
                self._answer(answer[0], [("Content-Type", proxy.content_type)], answer[1], len(answer[1]))
                return
            connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            found = connection.getresponse()
            data = found.read()
            dropped = ("transfer-encoding", "content-length", "connection", "date", "server")
            headers = [(name, value) for name, value in found.getheaders() if name.lower() not in dropped]
            n_bytes = int(found.getheader("Content-Length") or 0) if self.command == "HEAD" else len(data)
            connection.close()
            self._answer(found.status, headers, data, n_bytes)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 - the names that http.server asks for

        def _body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while n_bytes := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(n_bytes))
                self.rfile.readline()
            self.rfile.readline()
            del self.headers["Transfer-Encoding"]
            body = b"".join(chunks)
            self.headers["Content-Length"] = str(len(body))
            return body

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, n_bytes: int) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(n_bytes))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
