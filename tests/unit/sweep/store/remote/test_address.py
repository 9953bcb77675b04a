"""Addresses of results folders: what is one, what is shown of it, and how names are put below it."""

import pickle
from pathlib import Path

import click
import pytest

from sweep.cli.types import ResultsPlace
from sweep.grid.load import ConfigError, parse_configs
from sweep.store.remote.address import Address, is_address, joined
from sweep.store.remote.path import RemotePath, explained, store_path
from sweep.store.store import Store, StoreError, StoreWriteError, UnreachableError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://bucket/a/b", ("s3", "bucket", "a/b", "")),
        ("s3://bucket", ("s3", "bucket", "", "")),
        ("s3://bucket/a/?region=eu-central-1", ("s3", "bucket", "a", "region=eu-central-1")),
        ("S3://bucket/a", ("s3", "bucket", "a", "")),
        ("gs://anonymous@bucket/a", ("gs", "anonymous@bucket", "a", "")),
        ("gcs://bucket/a", ("gcs", "bucket", "a", "")),
        ("abfs://container@account.dfs.core.windows.net/a", ("abfs", "container@account.dfs.core.windows.net", "a", "")),
    ],
)
def test_an_address_is_read_and_written_back(text: str, parts: tuple[str, str, str, str]) -> None:
    address = Address.parse(text)
    assert (address.scheme, address.authority, address.key, address.query) == parts
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@bucket/a",
        "s3://secret@bucket/a",
        "gs://secret@bucket/a",
        "abfs://account:secret@/container/a",
        "s3://bucket/a?secret_key=secret",
        "s3://bucket/a?region=x&session_token=secret",
        "abfs://c@a.dfs.core.windows.net/x?sig=secret",
        "ftp://key:secret@host/a?token=secret",
    ],
)
def test_credentials_are_refused_and_never_shown(text: str) -> None:
    with pytest.raises(StoreError) as refused:
        Address.parse(text)
    assert "secret@" not in str(refused.value)
    assert "=secret" not in str(refused.value)
    with pytest.raises(ConfigError) as mistaken:
        parse_configs({"problem": "multidigits", "output": text})
    assert "secret@" not in str(mistaken.value)
    assert "=secret" not in str(mistaken.value)


@pytest.mark.parametrize(
    "text", ["s3:///a", "s3://bucket/../a", "s3://bucket/a//b", "s3://bucket/./a", "s3://bucket/a#b", "file:///a", "x://"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="hint"):
        Store(text)


def test_folders_are_no_addresses(tmp_path: Path) -> None:
    assert not any(is_address(text) for text in ("results", "/results", "s3:/bucket", "C:\\x", "C:/x", "a:b"))
    assert store_path(tmp_path) == store_path(str(tmp_path)) == tmp_path
    assert isinstance(store_path("s3://bucket/x"), RemotePath)


def test_paths_behave_like_those_of_a_disk() -> None:
    root = RemotePath("s3://bucket/team/results?region=x")
    row = root / "rows" / "a.1-0.parquet"
    assert (row.name, row.stem, row.suffix) == ("a.1-0.parquet", "a.1-0", ".parquet")
    assert (row.parent, row.parent.name, row.with_name("b")) == (root / "rows", "rows", root / "rows" / "b")
    assert str(row) == "s3://bucket/team/results/rows/a.1-0.parquet?region=x"
    assert str(row.relative_to(root)) == "rows/a.1-0.parquet"
    assert {row, pickle.loads(pickle.dumps(row))} == {row}
    assert sorted([root / "b", root / "a"]) == [root / "a", root / "b"]


def test_several_problems_lie_below_an_address() -> None:
    assert joined("s3://b/x/?region=y", "multidigits") == "s3://b/x/multidigits?region=y"
    configs = parse_configs({"problem": ["multidigits", {"name": "multidigits", "data_seed": 1}], "output": "s3://b/x?region=y"})
    assert [config.output for config in configs] == ["s3://b/x/multidigits?region=y", "s3://b/x/multidigits-2?region=y"]


def test_the_command_line_leaves_addresses_as_they_are() -> None:
    command = click.Command("c", params=[click.Argument(["place"], type=ResultsPlace())], callback=lambda place: place)
    for typed, place in (("s3://b/x?region=y", "s3://b/x?region=y"), ("results/a", Path("results/a"))):
        assert command.main([typed], standalone_mode=False) == place


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("AWS Error NO_SUCH_BUCKET during PutObject operation: gone", StoreWriteError, "there is no bucket bucket"),
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", StoreWriteError, "no access to bucket bucket"),
        ("AWS Error UNKNOWN (HTTP status 403) during HeadObject operation", StoreWriteError, "no access"),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadObject operation", StoreWriteError, "in another region"),
        ("AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate.", UnreachableError, "SLOW_DOWN"),
        ("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7; Details: Failed", UnreachableError, "NETWORK_CONNECTION"),
        ("When reading 'rows/403.301.parquet': AWS Error INTERNAL_FAILURE", UnreachableError, "INTERNAL_FAILURE"),
    ],
)
def test_what_an_object_store_says_is_sorted(text: str, kind: type[StoreError], said: str) -> None:
    error = explained(RemotePath("s3://bucket/rows/403.301.parquet"), OSError(text), "cannot write")
    assert type(error) is kind
    assert said in error.problem
    assert error.hint
