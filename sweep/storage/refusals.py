"""What the clients of object stores say, sorted: the user's to mend, or worth another try."""

import re
from typing import Protocol

from sweep.storage.address import Address, kind_of
from sweep.storage.errors import StoreError, StoreWriteError, UnreachableError

_NO_ACCESS = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|UNRECOGNIZED_CLIENT|EXPIRED|HTTP status (?:code )?40[13]\b"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"  # Google
    r"|Azure Error: \[\w*\] 40[13]\b|PublicAccessNotPermitted"
)


class Place(Protocol):
    """What has an address."""

    @property
    def address(self) -> Address: ...

    def __hash__(self) -> int: ...


def explained(path: Place, error: Exception, what: str) -> StoreError:
    """The user's message for a request that failed, and by its class whether it is worth another try.

    Returns:
        UnreachableError: no answer, or a busy one. StoreWriteError: access or the bucket, which only the user can mend.
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
