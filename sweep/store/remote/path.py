"""Paths in object stores, with the methods of `pathlib.Path` that a store uses and with errors that a user understands."""

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
    """Anything that has an address."""

    @property
    def address(self) -> Address: ...

    def __hash__(self) -> int: ...


def explained(path: Place, error: Exception, what: str) -> StoreError:
    """The user's message for a request that failed, and by its class whether it is worth another try.

    Returns:
        UnreachableError: no answer, or a busy store. StoreWriteError: no access or no bucket, which only the user can fix.
    """
    # Names of objects are hexadecimal, and may look like a status.
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
    """The user's message for a bucket that is not there."""
    hint = f"make it, or correct the address ({_SETTINGS[kind_of(path.address.scheme)]})"
    return StoreWriteError(f"{what}: there is no {_container(path)}", path, hint)


def _container(path: Place) -> str:
    return f"{'container' if kind_of(path.address.scheme) == 'abfs' else 'bucket'} {path.address.authority}"


_ATTEMPTS = 10  # of a request; waiting twice as long each time, about 25 s in all
_FIRST_ATTEMPTS = 3  # while nobody knows whether the address is right
# An error whose text is longer than what was to be read is not tried again by the client (pyarrow 26: "Failed to flush response stream").
_READ_AGAIN_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_REQUEST_S = 20.0  # without a byte
_AGAIN_S = {"abfs": (1.0, 4.0, 12.0)}  # pauses before a request is made anew; Azure's client tries four times in 6 s, which nobody can set
_AT_ONCE = 16  # requests; one takes 10 to 100 ms, whatever its size

Item = TypeVar("Item")
Result = TypeVar("Result")


class Status(NamedTuple):
    """What tells one content of an object from another; names as in os.stat_result."""

    st_ino: int
    st_mtime_ns: int
    st_size: int


class _ReplacedError(OSError):
    """An object was replaced while it was read."""


class RemotePath:
    """The address of a folder or an object.

    Every method that asks the object store raises StoreError with a message for the user, and FileNotFoundError where nothing is.

    Args:
        address: text, or in its parts.
        status: what a listing has just said of it, which spares asking again.
    """

    def __init__(self, address: Address | str, status: Status | None = None) -> None:
        self.address = Address.parse(address) if isinstance(address, str) else address
        self._status = status

    @property
    def name(self) -> str:
        """The part behind the last slash."""
        return PurePosixPath(self.address.key).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.address.key).stem

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return PurePosixPath(self.address.key).suffix

    @property
    def parent(self) -> Self:
        """The folder that it is in."""
        return type(self)(_with_key(self.address, self.address.key.rpartition("/")[0]))

    @property
    def writes_aside(self) -> bool:
        """Whether a write puts a temporary object beside it."""
        return kind_of(self.address.scheme) == "abfs"

    def __truediv__(self, name: str) -> Self:
        return type(self)(self.address.child(name))

    def with_name(self, name: str) -> Self:
        """Another object in the same folder."""
        return self.parent / name

    def relative_to(self, other: "RemotePath") -> PurePosixPath:
        """The path from a folder above to this one."""
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
        """Is there an object? One request, two where there is none."""
        return self._ask("cannot be looked at", lambda: bool(self._system().get_file_info(self._place()).is_file))

    def stat(self) -> Status:
        """As the listing said that this path comes from, else as it is now."""
        if self._status is not None:
            return self._status
        info = self._ask("cannot be looked at", lambda: self._system().get_file_info(self._place()))
        if not info.is_file:
            raise FileNotFoundError(str(self))
        return _status(info)

    def list(self) -> "list[Self]":
        """Objects and folders directly below, in the order of names; none where there is nothing.

        Google's store has no folders, and pyarrow's client names none: `first_names` does.
        """
        infos = self._ask("cannot be listed", lambda: self._system().get_file_info(_below(self._place())))
        return sorted(type(self)(self.address.child(info.base_name), _status(info) if info.is_file else None) for info in infos)

    def first_names(self) -> set[str]:
        """Names of all objects and folders directly below. It may list everything below, so use it where little is."""
        if kind_of(self.address.scheme) != "gs":
            return {path.name for path in self.list()}
        infos = self._ask("cannot be listed", lambda: self._system().get_file_info(_below(self._place(), recursive=True)))
        start = len(self._place()) + 1
        return {info.path[start:].partition("/")[0] for info in infos}

    def read_bytes(self) -> bytes:
        """The whole content."""
        return self.read_start(None)[0]

    def read_start(self, n_bytes: int | None) -> tuple[bytes, int]:
        """The first bytes (None: all), and the size of the whole."""
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
        """The client asks for the size first, then for the content. (Google's names the version too, which may be gone by then.)"""
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
        """Put the whole content; a reader sees the old one or the new one."""
        try:
            self._ask("cannot write", lambda: self._put(data))
        except FileNotFoundError as error:  # Google's word for a bucket that is not there
            raise no_container(self, "cannot write") from error

    def _put(self, data: bytes) -> None:
        if self.writes_aside and not self.name.endswith(".tmp"):
            put_aside(self._system(), self._place(), data)
            return
        with self._system().open_output_stream(self._place()) as stream:
            stream.write(data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        try:
            self._ask("cannot be removed", lambda: self._system().delete_file(self._place()))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def check_reachable(self) -> None:
        """Refuse a bucket that does not exist or denies access, before anything begins.

        Raises:
            StoreError: the message says what to check.
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
        """The answer to a request; a request that gets none is repeated a few times.

        Raises:
            FileNotFoundError: there is no such object, which object stores say in several ways.
            StoreError: everything else, with a message.
        """
        self._open(what)
        for seconds in _AGAIN_S.get(kind_of(self.address.scheme), ()):
            try:
                return self._ask_once(what, question)
            except UnreachableError:
                time.sleep(seconds)
        return self._ask_once(what, question)

    def _open(self, what: str) -> None:
        """Report what is wrong with an address at once, before any request is repeated."""
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
    """A results folder: an address, or an absolute path.

    Raises:
        StoreError: an address that cannot be one.
    """
    if isinstance(root, RemotePath):
        return root
    if isinstance(root, str) and is_address(root):
        return RemotePath(root)
    return Path(os.path.expanduser(root)).absolute()  # `~nobody` stays as it is; Path.expanduser raises


def concurrently(function: Callable[[Item], Result], items: Iterable[Item], *, is_remote: bool) -> list[Result]:
    """The results in order; from an object store many at once, from a disk one after the other.

    An exception of one ends all.
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
    """Where S3 is, as the environment says. (pyarrow reads it from addresses alone, where a put takes three requests.)"""
    if kind_of(address.scheme) != "s3":
        return None
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@cache
def _client_errors() -> tuple[type[Exception], ...]:
    """What pyarrow's clients raise; ValueError is its word for an address that it does not take."""
    from pyarrow.lib import ArrowException

    return OSError, ValueError, ArrowException


@cache
def _file_system(base: str, endpoint: str | None, n_attempts: int) -> tuple[Any, str]:
    """pyarrow's file system for a bucket, and what the bucket is called in it."""
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
        # Not the standard one, which waits for seconds: with a third of all requests failing a read took 1.1 s, with this one 0.07 s.
        retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=n_attempts),
        **options,
    )
    return system, address.authority
