"""Results in an object store are read and reported like those of a folder."""

import gc
import re
from pathlib import Path

import pandas as pd
import pytest
from network_stores import write_network_store
from object_store import ObjectStore
from pyarrow import fs
from sized_stores import write_latency, write_sized_store
from synthetic_store import write_store

from analysis.method_table.formats import folders_text
from analysis.report.page import write_report
from analysis.results.latency import read_latencies
from analysis.results.mirror import is_address
from analysis.results.table import ResultsError, read_results
from analysis.results.weights import find_trial, read_pruned_layers


def system_of(server: ObjectStore) -> fs.S3FileSystem:
    return fs.S3FileSystem(endpoint_override=f"127.0.0.1:{server.port}", scheme="http", region="us-east-1")


def place_of(address: str) -> str:
    """Bucket and prefix."""
    return address.removeprefix("s3://").partition("?")[0]


def copy_into(server: ObjectStore, folder: Path, address: str) -> None:
    system = system_of(server)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with system.open_output_stream(f"{place_of(address)}/{path.relative_to(folder).as_posix()}") as stream:
            stream.write(path.read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A synthetic store on the disk."""
    write_store(tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def address(folder: Path, s3_server: ObjectStore, s3_address: str) -> str:
    """The same in an object store."""
    copy_into(s3_server, folder, s3_address)
    return s3_address


@pytest.mark.full
def test_the_table_is_that_of_the_folder(folder: Path, address: str) -> None:
    there, here = read_results(address), read_results(folder)
    pd.testing.assert_frame_equal(there.frame, here.frame)
    pd.testing.assert_frame_equal(there.read_epochs(), here.read_epochs())
    assert (there.manifest, there.plan, there.unreadable, there.name) == (here.manifest, here.plan, here.unreadable, here.name)
    assert (there.place, here.place) == (address, str(folder))


@pytest.mark.full
def test_the_copies_go_with_the_last_table(address: str) -> None:
    table = read_results(address)
    copies, ok = table.folder, table.ok
    del table
    gc.collect()
    assert (copies / "manifest.json").exists()
    del ok
    gc.collect()
    assert not copies.exists()


@pytest.mark.full
def test_the_report_lies_beside_the_results_or_where_it_is_asked_for(
    address: str, folder: Path, s3_server: ObjectStore, tmp_path: Path
) -> None:
    where = write_report(address)
    assert where == address.replace("?", "/report.html?")
    assert write_report(address, tmp_path / "here.html") == tmp_path / "here.html"
    write_report(folder, tmp_path / "folder.html")
    with system_of(s3_server).open_input_file(f"{place_of(address)}/report.html") as file:
        pages = [file.read(), (tmp_path / "here.html").read_bytes(), (tmp_path / "folder.html").read_bytes()]
    place = rb"(&#39;|')?s3://[^<`\"]*?scheme=http(&#39;|')?|" + re.escape(str(folder)).encode()
    same = {re.sub(rb"\d\d:\d\d(:\d\d)?", b"", re.sub(place, b"DIR", page)) for page in pages}
    assert len(same) == 1, "the same but for the time of writing, and the place in commands"


@pytest.mark.full
def test_methods_are_compared_and_the_same_address_twice_is_refused(address: str, folder: Path) -> None:
    with pytest.raises(ResultsError, match="given twice"):
        folders_text([address, address])
    assert folders_text([address], "csv") == folders_text([folder], "csv")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("ftp://host/x", "unknown kind of address"),
        ("s3://me:mysecret@bucket/x", "credentials do not belong in an address"),
        ("s3://bucket/x?secret_key=mysecret", "credentials do not belong in an address"),
        pytest.param("gs://bucket/x?nonsense=1", "cannot be used", marks=pytest.mark.full),
    ],
)
def test_an_address_that_cannot_be_used_is_said(place: str, said: str) -> None:
    with pytest.raises(ResultsError, match=said) as refused:
        read_results(place)
    assert "mysecret" not in str(refused.value)
    assert "hint: " in str(refused.value)


def test_a_bucket_or_results_that_are_not_there_are_said(s3_server: ObjectStore, s3_address: str) -> None:
    with pytest.raises(ResultsError, match="there is no bucket no-such-bucket"):
        read_results(s3_server.address("no-such-bucket"))
    with pytest.raises(ResultsError, match=r"no manifest\.json") as refused:
        read_results(s3_address)
    assert str(refused.value).startswith(f"{s3_address}: ")


def test_folders_are_no_addresses() -> None:
    assert [is_address(place) for place in ("results/a", "s3://b/c", Path("s3://b"), "C:/x", "a:b")] == [False, True, False, False, False]


def test_a_network_is_fetched_for_its_figure(s3_server: ObjectStore, s3_address: str, tmp_path: Path) -> None:
    rows = write_network_store(tmp_path / "networks")
    copy_into(s3_server, tmp_path / "networks", s3_address)
    table = read_results(s3_address)
    trial_id = find_trial(table, rows[1]["trial_id"])
    assert [layer.name for layer in read_pruned_layers(table, trial_id)] == [
        layer.name for layer in read_pruned_layers(read_results(tmp_path / "networks"), trial_id)
    ]
    system_of(s3_server).delete_file(f"{place_of(s3_address)}/blobs/{rows[1]['weights_sha256']}")
    with pytest.raises(ResultsError, match=f"^s3://.*blobs/{rows[1]['weights_sha256']}.*: the weights of trial .* are not in this folder"):
        read_pruned_layers(read_results(s3_address), trial_id)


def test_latencies_are_fetched_as_they_are_now_and_large_ones_are_not(s3_server: ObjectStore, s3_address: str, tmp_path: Path) -> None:
    rows = write_sized_store(tmp_path / "sized", 8)
    copy_into(s3_server, tmp_path / "sized", s3_address)
    table = read_results(s3_address)
    assert read_latencies(table).of_trials == {}
    write_latency(tmp_path / "sized", rows[0])
    write_latency(tmp_path / "sized", rows[1]).write_bytes(b" " * 70_000)
    copy_into(s3_server, tmp_path / "sized", s3_address)
    assert set(read_latencies(table).of_trials) == {rows[0]["trial_id"]}
    assert [path.name for path in (table.folder / "latency").iterdir()] == [f"{rows[0]['trial_id']}.json"]
    assert "ms, batch 256" in Path(write_report(s3_address, tmp_path / "page.html")).read_text(encoding="utf-8")
