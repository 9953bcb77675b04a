"""Results in object stores: tables and JSON are copied into a temporary folder, which is read like any other results folder.

Addresses are `s3://bucket/prefix`, `gs://bucket/prefix` and `abfs://container@account.../prefix`, through pyarrow. Credentials
come from the environment, as pyarrow reads them, never from an address. Weights are copied only on request (`Mirror.copy_blob`).
"""

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from analysis.results.cloud import CloudError, azure_client, google_client, opened_cloud, put_aside
from analysis.results.manifest import ResultsError

_AT_ONCE = 16
_MAX_LATENCY_BYTES = 2**16
_MAX_PLACEMENT_BYTES = 2**20
_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
_HINT = "check the address, and what the environment says of credentials, region and endpoint (S3: AWS_ACCESS_KEY_ID, AWS_REGION, ...)"


def trial_of(name: str) -> str:
    """Return the id of the trial whose rows or curves a loose file `<trial_id>.<attempt>-<retry>.parquet` holds."""
    return PurePosixPath(name).name.rsplit(".", 2)[0]


def is_address(place: str | Path) -> bool:
    """Return whether a place is an address of an object store rather than a folder."""
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None


class Mirror:
    """Copies of a results folder's tables and JSON, which are deleted together with this object.

    Args:
        address: the address of the results folder.

    Raises:
        ResultsError: the kind of address is unknown, the address contains credentials, or the object store cannot be read.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._system, self._root = _opened(address)
        self.folder = Path(tempfile.mkdtemp(prefix="sweep-results-"))
        """The folder of the copies, laid out like the results folder."""
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        # Loose rows come first, as everywhere: a row that compaction moves in the meantime is then read twice, but never missed.
        for folder in ("rows", "plans"):
            self._copy(self._names(folder))
        self._copy(["manifest.json", "trials.parquet"])

    def copy_curves(self, trials: Collection[str] | None = None) -> None:
        """Copy the curves as they are now; loose files are copied for these trials only, or (None) for all trials."""
        names = self._names("epochs")
        self._copy(name for name in names if trials is None or trial_of(name) in trials)
        self._copy(["epochs.parquet"])

    def copy_latencies(self) -> None:
        """Copy the latencies as they are now."""
        self._copy(self._names("latency", _MAX_LATENCY_BYTES))

    def copy_placements(self) -> None:
        """Copy the rounds of placed preference vectors as they are now."""
        self._copy(self._names("placements", _MAX_PLACEMENT_BYTES))

    def copy_blob(self, sha256: str) -> None:
        """Copy the weights with this digest, if there are any."""
        self._copy([f"blobs/{sha256}"])

    def _names(self, folder: str, max_bytes: int | None = None) -> list[str]:
        """Return the names of the objects in a folder, except those larger than `max_bytes`."""
        from pyarrow import fs

        with _errors_as_messages(self.address):
            found = self._system.get_file_info(fs.FileSelector(f"{self._root}/{folder}", allow_not_found=True))
        files = [info for info in found if info.is_file and not info.base_name.startswith(".")]
        return [f"{folder}/{info.base_name}" for info in files if max_bytes is None or info.size <= max_bytes]

    def _content(self, name: str) -> bytes:
        """Read an object; if it is replaced between opening and reading, open it again."""
        for is_last in (False, False, True):
            with _errors_as_messages(self.address), self._system.open_input_file(f"{self._root}/{name}") as file:
                try:
                    return bytes(file.read())
                except (FileNotFoundError, ValueError):
                    if is_last:
                        raise
        raise AssertionError

    def _copy(self, names: Iterable[str]) -> None:
        def copy(name: str) -> None:
            target = self.folder / name
            try:
                data = self._content(name)
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                return  # it was compacted in the meantime, or never existed
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(copy, names))


def put(address: str, name: str, data: bytes) -> str:
    """Write one file of a results folder as a whole and return its address.

    Args:
        address: the address of the results folder.
        name: the file's path in that folder.
        data: the whole content.

    Raises:
        ResultsError: as for `Mirror`.
    """
    system, root = _opened(address)
    with _errors_as_messages(address):
        if address.startswith("abfs"):
            put_aside(system, f"{root}/{name}", data)
        else:
            with system.open_output_stream(f"{root}/{name}") as stream:
                stream.write(data)
    return below(address, name)


def below(address: str, name: str) -> str:
    """Return the address of a file in a results folder."""
    start, mark, query = address.partition("?")
    return f"{start.rstrip('/')}/{name}{mark}{query}"


@contextlib.contextmanager
def _errors_as_messages(address: str) -> Iterator[None]:
    """Turn errors of an object store into ResultsError; a missing object remains a FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, ResultsError):
        raise
    except CloudError as error:
        raise ResultsError(f"{address}: {error.problem}\n  hint: {error.hint}") from error
    except (OSError, ValueError) as error:  # pyarrow raises ValueError for an address that it does not accept
        text = " ".join(str(error).partition("; Details")[0].split())[:300]
        if "NO_SUCH_KEY" in text:
            raise FileNotFoundError(text) from error
        raise ResultsError(f"{address}: cannot be used: {text}\n  hint: {_HINT}") from error


def _opened(address: str) -> tuple[Any, str]:
    """Open pyarrow's file system for an address, and return it with the path of the folder in it."""
    from pyarrow import fs

    split = urlsplit(address)
    query = dict(parse_qsl(split.query))
    who = split.netloc.rpartition("@")[0]
    is_azure = split.scheme.startswith("abfs")
    if split.scheme not in _SCHEMES or not split.netloc:
        raise ResultsError(f"{split.scheme}://...: unknown kind of address\n  hint: use s3://, gs:// or abfs://, or a folder")
    if (who and (not is_azure or ":" in who) and who != "anonymous") or any(
        re.search("key|secret|token|sig|client", name) for name in query
    ):
        raise ResultsError(f"{split.scheme}://...: credentials do not belong in an address\n  hint: set them in the environment")
    with _errors_as_messages(address):
        if split.scheme != "s3":
            client = (azure_client if is_azure else google_client)(split.netloc, query, os.environ)
            return opened_cloud(client), f"{client.bucket}/{split.path.strip('/')}".rstrip("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        options = {name: query[name] for name in ("endpoint_override", "scheme") if name in query}
        if "endpoint_override" not in options and endpoint:
            options = {"endpoint_override": urlsplit(endpoint).netloc, "scheme": urlsplit(endpoint).scheme}
        region = query.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region is None:
            region = "us-east-1" if "endpoint_override" in options else fs.resolve_s3_region(split.netloc)
        retries = fs.AwsDefaultS3RetryStrategy(max_attempts=8)
        # With a delayed open a put takes one request, otherwise three.
        system = fs.S3FileSystem(region=region, retry_strategy=retries, allow_delayed_open=True, **options)
        if system.get_file_info(split.netloc).type == fs.FileType.NotFound:
            raise ResultsError(f"{address}: there is no bucket {split.netloc}\n  hint: {_HINT}")
        return system, f"{split.netloc}/{split.path.strip('/')}".rstrip("/")
