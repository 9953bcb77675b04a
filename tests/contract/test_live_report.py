"""`sweep report DIR --serve`: two paths, for this machine's own names only, and nothing of the disk."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from waiting import patience, until

import sweep

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "analysis"))

from synthetic_store import TWO_TASKS, write_manifest, write_store

from analysis import write_report
from analysis.report.page import render_report
from analysis.results.table import read_results
from sweep.artifacts.serve import LivePage, LoopbackServer, opened
from sweep.cli.commands import cli

REPOSITORY = Path(sweep.__file__).parents[1]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">')


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "results"
    write_store(folder, n_trials=8)
    (folder / "secret.txt").write_text("nobody reads this", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(results: Path) -> Iterator[LoopbackServer]:
    """In this process, on any free port."""
    with opened(0) as found:
        found.live = LivePage(results, lambda table, version: render_report(table, live=version))
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()
        found.live.stop()


def ask(server: LoopbackServer, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers={"Host": f"127.0.0.1:{port}"} | headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def raw(server: LoopbackServer, text: str) -> str:
    """The answer to exactly these bytes."""
    with socket.create_connection(server.server_address[:2], timeout=60) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")


@pytest.mark.full
def test_the_report_and_its_version(server: LoopbackServer) -> None:
    page, version = ask(server), ask(server, "/version")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert (version.status, version.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    found = json.loads(version.body)
    assert found.keys() == {"version", "complete", "planned", "state", "problem", "poll_s"}
    assert (found["complete"], found["planned"], found["state"], found["problem"]) == (8, 8, "ended", None)
    assert f'"live":{found["version"]}'.encode() in page.body.replace(b" ", b"")
    for answer in (page, version):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Python" not in answer.headers["Server"]


def test_head_is_get_without_the_body(server: LoopbackServer) -> None:
    head = ask(server, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(ask(server).body)


@pytest.mark.parametrize(
    "path", ["/secret.txt", "/report.html", "/rows", "/rows/", "/../secret.txt", "/%2e%2e/etc/passwd", "/version/", "/?a=b"]
)
def test_nothing_else_is_there(server: LoopbackServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404
    assert answer.body == b"only / and /version are here\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
@pytest.mark.parametrize("path", ["/", "/version"])
def test_other_methods_are_refused(server: LoopbackServer, method: str, path: str) -> None:
    answer = ask(server, path, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_an_unknown_method_is_refused(server: LoopbackServer) -> None:
    assert ask(server, method="BREW").status == 501


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8300", "127.0.0.1", "127.0.0.1:1"])
def test_this_machine_by_its_own_names(server: LoopbackServer, host: str) -> None:
    assert ask(server, "/version", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8300",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "0.0.0.0",
        "[::1]",
        "127.0.0.2",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_another_name_for_this_machine_is_refused(server: LoopbackServer, host: str, method: str) -> None:
    """DNS rebinding: a stranger's page reaches 127.0.0.1 under the stranger's name."""
    for path in ("/", "/version", "/else"):
        answer = ask(server, path, method, Host=host)
        assert answer.status == 403
        assert len(answer.body) < 100


def test_no_name_or_two_are_refused(server: LoopbackServer) -> None:
    assert " 403 " in raw(server, "GET / HTTP/1.0\r\n\r\n").splitlines()[0]
    assert " 403 " in raw(server, "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n").splitlines()[0]
    assert " 404 " in raw(server, "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n").splitlines()[0]


@pytest.mark.full
def test_a_reader_that_goes_away_is_no_error(server: LoopbackServer, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())  # other servers' threads among them
    for _ in range(3):
        with socket.create_connection(server.server_address[:2], timeout=60) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert ask(server, "/version").status == 200  # connections are taken in the order in which they came
    until(lambda: not any("process_request_thread" in thread.name for thread in set(threading.enumerate()) - before), "end of the requests")
    assert capfd.readouterr().err == ""


def test_it_is_bound_to_loopback_alone(server: LoopbackServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_address[1]}/"


@pytest.mark.full
def test_only_the_served_page_may_ask_its_server(server: LoopbackServer, results: Path, tmp_path: Path) -> None:
    """The file on disk connects to nothing and has nothing of the script that asks."""
    served = ask(server).body.decode()
    written = Path(write_report(results, tmp_path / "report.html")).read_text(encoding="utf-8")
    policies = [POLICY.findall(page) for page in (served, written)]
    assert [len(found) for found in policies] == [1, 1]
    assert "connect-src 'self'" in policies[0][0]
    assert policies[0][0].replace("connect-src 'self'", "connect-src 'none'") == policies[1][0]
    own = written.partition("plotly.js v")[0] + written.rpartition("</script>\n<script>")[2]
    assert "wireControls" in own
    for word in ("/version", "fetch(", "sessionStorage", "location.reload", '"live"', "live-pause"):
        assert word not in own
    assert read_results(results).counts["ok"] == 8


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--serve", "--out", "page.html"], ["--out", "--serve"]),
        (["--port", "8300"], ["--port", "--serve"]),
        (["--serve", "--port", "65536"], ["65536"]),
        (["--serve", "--port", "-1"], ["-1"]),
    ],
)
def test_options_that_do_not_fit(results: Path, options: list[str], parts: list[str]) -> None:
    result = CliRunner().invoke(cli, ["report", str(results), *options], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("Error: ") == 1
    for part in parts:
        assert part in result.stderr
    assert not (results / "report.html").exists()


def test_a_port_in_use_is_said(results: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["report", str(results), "--serve", "--port", str(port)], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: --port {port}: cannot listen on 127.0.0.1:{port} (")
    assert "hint: " in result.stderr


@pytest.mark.parametrize("kind", ["empty", "nowhere", "torn"])
def test_a_folder_that_is_no_sweep_is_said(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "out"
    if kind != "nowhere":
        folder.mkdir()
    if kind == "torn":
        write_manifest(folder, TWO_TASKS)
        (folder / "manifest.json").write_text("{", encoding="utf-8")
    result = CliRunner().invoke(cli, ["report", str(folder), "--serve"], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="not run: needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_well_when_it_is_told_to(results: Path, number: signal.Signals) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    command = [sys.executable, "-P", "-m", "sweep", "report", str(results), "--serve", "--eps", "0.01", "--usd-per-kwh", "0.3"]
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # tests that run in a shell's background inherit that SIGINT is ignored
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"live report: http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", line)
        assert match, (line, process.stderr and process.stderr.read())
        connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=60)
        connection.request("GET", "/")
        assert b'"eps":0.01' in connection.getresponse().read().replace(b" ", b"")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=patience(60))
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before
