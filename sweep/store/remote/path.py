"""Paths in object stores, with the methods of `pathlib.Path` that a store uses and with error messages for the user."""

import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

from analysis.results.cloud import CloudError, azure_client, google_client, opened_cloud, put_aside
from sweep.store.errors import StoreError, StoreWriteError, UnreachableError
from sweep.store.remote.address import Address, is_address, kind_of

_NO_ACCESS = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|UNRECOGNIZED_CLIENT|EXPIRED|HTTP status (?:code )?40[13]\b"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"  # Google
    r"|Azure Error: \[\w*\] 40[13]\b|PublicAccessNotPermitted"
)


class Place(Protocol):
    """An object that has an address."""

    @property
    def address(self) -> Address: ...

    def __hash__(self) -> int: ...


def explained(path: Place, error: Exception, what: str) -> StoreError:
    """Return the error, with a message for the user, for a request that failed.

    Args:
        path: the path that the request was about.
        error: the client's error.
        what: what failed, for example `cannot be read`.

    Returns:
        UnreachableError if the store did not answer or was busy, so that another try may succeed; StoreWriteError if access is denied
        or the bucket is missing, which only the user can fix.
    """
    # The key is removed, because the names of objects are hexadecimal and may look like an HTTP status.
    text = str(error).replace(path.address.key, "...") if path.address.key else str(error)
    settings = _SETTINGS[kind_of(path.address.scheme)]
    if re.search(r"NO_SUCH_BUCKET|[Bb]ucket '?.*'? ?(?:does not exist|not found)|ContainerNotFound", text):
        return no_container(path, what)
    if _NO_ACCESS.search(text):
        return StoreWriteError(f"{what}: no access to {_container(path)}", path, f"check the credentials and their rights ({settings})")
    if re.search(r"HTTP status (?:code )?30[17]\b|PermanentRedirect|AuthorizationHeaderMalformed", text):
        return StoreWriteError(
            f"{what}: {_container(path)} is in another region", path, "add `?region=...` to the address, or set AWS_REGION"
        )
    reason = " ".join(text.partition("; Details")[0].split())[:300]
    return UnreachableError(f"{what}: {reason}", path, f"check the network, the endpoint and the region ({settings})")


_SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, or `?region=...&endpoint_override=...` in the address",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or `?endpoint_override=...` in the address",
    "abfs": "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or `az login`",
}


def no_container(path: Place, what: str) -> StoreError:
    """Return the error, with a message for the user, for a bucket that does not exist."""
    hint = f"make it, or correct the address ({_SETTINGS[kind_of(path.address.scheme)]})"
    return StoreWriteError(f"{what}: there is no {_container(path)}", path, hint)


def _container(path: Place) -> str:
    return f"{'container' if kind_of(path.address.scheme) == 'abfs' else 'bucket'} {path.address.authority}"


_ATTEMPTS = 10  # tries of a request; each pause is twice as long as the one before, about 25 s in total
_FIRST_ATTEMPTS = 3  # tries before the address is known to be correct
# pyarrow 26 does not retry an error whose text is longer than the requested bytes ("Failed to flush response stream").
_READ_AGAIN_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_REQUEST_S = 20.0  # timeout of a request that receives no data
_AGAIN_S = {"abfs": (1.0, 4.0, 12.0)}  # pauses before a request is repeated; Azure's client tries only four times in 6 s, a fixed number
_AT_ONCE = 16  # concurrent requests; each takes 10 to 100 ms regardless of its size

Item = TypeVar("Item")
Result = TypeVar("Result")


class Status(NamedTuple):
    """The values that distinguish two contents of an object; the names are those of os.stat_result."""

    st_ino: int
    st_mtime_ns: int
    st_size: int


class _ReplacedError(OSError):
    """An object was replaced while it was being read."""


class RemotePath:
    """The path of a folder or an object in an object store.

    Every method that sends a request may raise StoreError with a message for the user, and FileNotFoundError if there is no object.

    Args:
        address: the address, as text or split into its parts.
        status: the status from a recent listing, which saves a request.
    """

    def __init__(self, address: Address | str, status: Status | None = None) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self._status = status

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return PurePosixPath(self.address.key).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.address.key).stem

    @property
    def suffix(self) -> str:
        """The end of the name, from its last dot."""
        return PurePosixPath(self.address.key).suffix

    @property
    def parent(self) -> Self:
        """The folder that contains this path."""
        return type(self)(_with_key(self.address, self.address.key.rpartition("/")[0]))

    @property
    def writes_aside(self) -> bool:
        """Whether a write creates a temporary object in the same folder."""
        return kind_of(self.address.scheme) == "abfs"

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.address.child(name))

    def with_name(self, name: str) -> Self:
        """Return the path of another object in the same folder."""
        return self.parent / name

    def relative_to(self, other: "RemotePath") -> PurePosixPath:
        """Return this path relative to a folder that contains it."""
        return PurePosixPath(self.address.key).relative_to(other.address.key)

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.address == other.address

    def __lt__(self, other: "RemotePath") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(self.address)

    def exists(self) -> bool:
        """Return whether the object exists. This takes one request, or two if it does not exist."""
        return self._ask("cannot be looked at", lambda: bool(self._system().get_file_info(self._place()).is_file))

    def stat(self) -> Status:
        """Return the status from the listing that this path comes from, or otherwise the current one."""
        if self._status is not None:
            return self._status
        info = self._ask("cannot be looked at", lambda: self._system().get_file_info(self._place()))
        if not info.is_file:
            raise FileNotFoundError(str(self))
        return _status(info)

    def list(self) -> "list[Self]":
        """Return the objects and folders directly below this path, sorted by name; empty if nothing exists there.

        Folders are missing for Google's store, for which pyarrow's client reports none; `first_names` includes them.
        """
        infos = self._ask("cannot be listed", lambda: self._system().get_file_info(_below(self._place())))
        return sorted(type(self)(self.address.child(info.base_name), _status(info) if info.is_file else None) for info in infos)

    def first_names(self) -> set[str]:
        """Return the names of all objects and folders directly below. This may list the whole tree, so use it for small trees."""
        if kind_of(self.address.scheme) != "gs":
            return {path.name for path in self.list()}
        infos = self._ask("cannot be listed", lambda: self._system().get_file_info(_below(self._place(), recursive=True)))
        start = len(self._place()) + 1
        return {info.path[start:].partition("/")[0] for info in infos}

    def read_bytes(self) -> bytes:
        """Return the whole content of the object."""
        return self.read_start(None)[0]

    def read_start(self, n_bytes: int | None) -> tuple[bytes, int]:
        """Return the first `n_bytes` bytes of the object (None means all) and the size of the whole object in bytes."""
        return self._ask("cannot be read", lambda: self._read_again(n_bytes))

    def _read_again(self, n_bytes: int | None) -> tuple[bytes, int]:
        for seconds in _READ_AGAIN_S:
            try:
                return self._read(n_bytes)
            except OSError as error:
                if not isinstance(error, _ReplacedError) and "flush response stream" not in str(error):
                    raise
                time.sleep(seconds)
        return self._read(n_bytes)

    def _read(self, n_bytes: int | None) -> tuple[bytes, int]:
        """Read the object, and detect if it was replaced between the client's requests for its size and for its content.

        Google's client also requests a fixed version, which may no longer exist by then.
        """
        with self._system().open_input_file(self._place()) as file:
            try:
                size = int(file.size())
                wanted = size if n_bytes is None else min(n_bytes, size)
                data = bytes(file.read_at(wanted, 0)) if wanted else b""
            except FileNotFoundError as error:
                raise _ReplacedError("it is replaced again and again") from error
            except ValueError as error:
                if "closed file" not in str(error):
                    raise
                raise _ReplacedError("it is replaced again and again") from error
        if len(data) < wanted:
            raise _ReplacedError("it is replaced again and again")
        return data, size

    def write_bytes(self, data: bytes) -> None:
        """Write the whole content of the object. A reader sees either the old content or the new one."""
        try:
            self._ask("cannot write", lambda: self._put(data))
        except FileNotFoundError as error:  # Google's client raises this for a missing bucket
            raise no_container(self, "cannot write") from error

    def _put(self, data: bytes) -> None:
        if self.writes_aside and not self.name.endswith(".tmp"):
            put_aside(self._system(), self._place(), data)
            return
        with self._system().open_output_stream(self._place()) as stream:
            stream.write(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; `missing_ok` is as in `pathlib.Path.unlink`."""
        try:
            self._ask("cannot be removed", lambda: self._system().delete_file(self._place()))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def check_reachable(self) -> None:
        """Refuse a bucket that does not exist or denies access, with only a few tries.

        Raises:
            StoreError: the bucket cannot be used; the message states what to check.
        """
        base = self.address.base()

        def is_there() -> bool:
            system, start = _file_system(str(base), _endpoint(base), _FIRST_ATTEMPTS)
            exists = kind_of(base.scheme) != "s3" or system.get_file_info(start).type.name != "NotFound"
            if exists:
                system.get_file_info(_below(f"{start}/{self.address.key}".rstrip("/")))
            return exists

        if not self._ask("cannot be used", is_there):
            raise no_container(self, "cannot be used")

    def _system(self) -> Any:
        base = self.address.base()
        return _file_system(str(base), _endpoint(base), _ATTEMPTS)[0]

    def _place(self) -> str:
        base = self.address.base()
        start = _file_system(str(base), _endpoint(base), _ATTEMPTS)[1]
        return f"{start}/{self.address.key}" if self.address.key else start

    def _ask(self, what: str, question: Callable[[], Result]) -> Result:
        """Return the answer to a request, which is repeated a few times if the store does not answer.

        Raises:
            FileNotFoundError: the object does not exist, which object stores report in several ways.
            StoreError: for any other error, with a message for the user.
        """
        self._open(what)
        for seconds in _AGAIN_S.get(kind_of(self.address.scheme), ()):
            try:
                return self._ask_once(what, question)
            except UnreachableError:
                time.sleep(seconds)
        return self._ask_once(what, question)

    def _open(self, what: str) -> None:
        """Open the file system, so that a problem with the address is reported at once and not after repeated requests."""
        try:
            self._ask_once(what, self._system)
        except CloudError as error:
            kind = UnreachableError if error.may_pass else StoreWriteError
            raise kind(error.problem, self, error.hint) from error

    def _ask_once(self, what: str, question: Callable[[], Result]) -> Result:
        try:
            return question()
        except FileNotFoundError:
            raise
        except _client_errors() as error:
            if re.search(r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|BlobNotFound", str(error)):
                raise FileNotFoundError(str(self)) from error
            raise explained(self, error, what) from error


StorePath: TypeAlias = Path | RemotePath


def store_path(root: str | StorePath) -> StorePath:
    """Return a results folder as a path in an object store, if it is an address, or as an absolute path on a disk.

    Raises:
        StoreError: the text begins like an address but is not a valid one.
    """
    if isinstance(root, RemotePath):
        return root
    if isinstance(root, str) and is_address(root):
        return RemotePath(root)
    return Path(os.path.expanduser(root)).absolute()  # leaves an unknown `~user` unchanged, where Path.expanduser would raise


def concurrently(function: Callable[[Item], Result], items: Iterable[Item], *, is_remote: bool) -> list[Result]:
    """Apply a function to each item: concurrently for an object store, one after the other for a disk.

    Args:
        function: called once per item; if it raises, the exception is raised here.
        items: the items.
        is_remote: whether the calls send requests to an object store.

    Returns:
        The results in the order of `items`.
    """
    given = list(items)
    if not is_remote or len(given) < 2:
        return [function(item) for item in given]
    with ThreadPoolExecutor(min(_AT_ONCE, len(given))) as threads:
        return list(threads.map(function, given))


def _with_key(address: Address, key: str) -> Address:
    return Address(address.scheme, address.authority, key, address.query)


def _status(info: Any) -> Status:
    return Status(0, info.mtime_ns or 0, info.size)


def _below(place: str, recursive: bool = False) -> Any:
    from pyarrow import fs

    return fs.FileSelector(place, allow_not_found=True, recursive=recursive)


def _endpoint(address: Address) -> str | None:
    """Return the S3 endpoint that the environment sets, or None.

    pyarrow itself reads these variables only for file systems created from an address, with which a write takes three requests.
    """
    if kind_of(address.scheme) != "s3":
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@cache
def _client_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that pyarrow's clients raise; ValueError stands for an address that pyarrow does not accept."""
    from pyarrow.lib import ArrowException

    return OSError, ValueError, ArrowException


@cache
def _file_system(base: str, endpoint: str | None, n_attempts: int) -> tuple[Any, str]:
    """Return pyarrow's file system for a bucket, and the name of the bucket in it."""
    from pyarrow import fs

    address = Address.parse(base)
    if kind_of(address.scheme) != "s3":
        make = azure_client if kind_of(address.scheme) == "abfs" else google_client
        client = make(address.authority, dict(address.parameters()), os.environ)
        return opened_cloud(client), client.bucket
    given = dict(address.parameters())
    options: dict[str, Any] = {name: given[name] for name in ("endpoint_override", "scheme", "tls_ca_file_path") if name in given}
    if "endpoint_override" not in options and endpoint is not None:
        split = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options |= {"endpoint_override": split.netloc, "scheme": split.scheme}
    region = given.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if "endpoint_override" in options else fs.resolve_s3_region(address.authority)
    system = fs.S3FileSystem(
        region=region,
        request_timeout=_REQUEST_S,
        connect_timeout=5.0,
        allow_delayed_open=True,  # a small object is one request, not three
        background_writes=False,
        force_virtual_addressing=given.get("force_virtual_addressing") == "true",
        # The standard strategy waits for seconds: with a third of all requests failing, a read took 1.1 s, and 0.07 s with this one.
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=n_attempts),
        **options,
    )
    return system, address.authority
