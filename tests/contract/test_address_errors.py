"""An address that cannot be used is one message with a hint and exit code 2, from every command, and before anything is written."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from object_store import ObjectStore
from sets import short_cases

from sweep.cli.commands import cli

UNUSABLE = {
    "s3://no-such-bucket/x?endpoint_override={server}&scheme=http": "there is no bucket no-such-bucket",
    "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http": "NETWORK_CONNECTION",
    "s3://me:mysecret@bucket/x": "credentials do not belong in an address",
    "s3://bucket/x?secret_key=mysecret": "credentials do not belong in an address",
    "ftp://host/x": "unknown kind of address",
}
MORE = {"figure": ("similarity",), "rm": ("a-trial",)}


@pytest.mark.parametrize(
    "command",
    short_cases(["run", "plan", "status", "report", "front", "table", "verify", "figure", "pause", "stop", "resume", "rm"], every=4),
)
@pytest.mark.parametrize("output", UNUSABLE)
def test_one_message(
    command: str, output: str, s3_server: ObjectStore, s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(json.dumps({"problem": "multidigits", "preferences": {"list": [[0, 0.5, 0.5]]}}))
    address = output.format(server=f"127.0.0.1:{s3_server.port}")
    arguments = (command, "grid.yaml", "--out", address) if command in ("run", "plan") else (command, address, *MORE.get(command, ()))
    ended = CliRunner().invoke(cli, arguments)
    assert ended.exit_code == 2, ended.output
    assert ended.stderr.count("Error: ") == 1
    assert UNUSABLE[output] in ended.stderr
    assert "hint: " in ended.stderr
    assert "mysecret" not in ended.output + ended.stderr
    assert isinstance(ended.exception, SystemExit)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]


@pytest.mark.parametrize("command", ["status", "report", "front", "table", "verify", "figure", "pause", "stop", "resume", "rm"])
def test_an_empty_prefix_is_no_sweep(command: str, s3_address: str) -> None:
    ended = CliRunner().invoke(cli, (command, s3_address, *MORE.get(command, ())))
    assert ended.exit_code == 2
    assert "no manifest.json" in ended.stderr
    assert "hint: " in ended.stderr
