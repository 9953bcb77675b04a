"""Addresses of results folders in object stores: `s3://bucket/prefix`, `gs://bucket/prefix`, `abfs://container@account.../prefix`.

Addresses that contain credentials are refused, so every address can be shown, logged and stored. This module makes no connections.
"""

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl

from sweep.store.errors import StoreError

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<key>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?P<rest>#.*)?")
# The parameters that may follow a question mark, with pyarrow's names. They describe locations and connections, never credentials.
_PARAMETERS = {
    "s3": ("endpoint_override", "region", "scheme", "tls_ca_file_path", "force_virtual_addressing"),
    "gs": ("endpoint_override", "scheme", "project_id", "retry_limit_seconds"),
    "abfs": ("blob_storage_authority", "dfs_storage_authority", "blob_storage_scheme", "dfs_storage_scheme", "enable_tls"),
}
_SAME = {"gcs": "gs", "abfss": "abfs"}
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "what Azure's default credential reads (AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_CLIENT_SECRET), or `az login`",
}


def is_address(text: str) -> bool:
    """Return whether a text begins like an address, that is with `scheme://` for any scheme."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


@dataclass(frozen=True)
class Address:
    """An address, split into its parts."""

    scheme: str
    """The scheme as given: s3, gs, gcs, abfs or abfss."""
    authority: str
    """The bucket, or `container@account...` for Azure."""
    key: str
    """The path without leading and trailing slashes; empty for the bucket itself."""
    query: str
    """The text after the question mark."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of an address.

        Raises:
            StoreError: the scheme or a parameter is unknown, the bucket is missing, or the address contains credentials or `..`; the
                message shows no secret.
        """
        match = _ADDRESS.fullmatch(text)
        scheme = match["scheme"].lower() if match else ""
        if match is None or kind_of(scheme) not in _PARAMETERS:
            hint = "use s3://bucket/prefix, gs://bucket/prefix or abfs://container@account.dfs.core.windows.net/prefix, or a folder"
            raise StoreError(f"unknown kind of address ({scheme or 'no'}://)", _harmless(text), hint)
        kind = kind_of(scheme)
        found = cls(scheme, match["authority"], (match["key"] or "").strip("/"), match["query"] or "")
        found._refuse_credentials(text, kind)
        unknown = [name for name, _ in found.parameters() if name not in _PARAMETERS[kind]]
        if unknown:
            hint = f"known are {', '.join(_PARAMETERS[kind])}"
            raise StoreError(f"unknown parameter `{unknown[0]}` behind the question mark", _harmless(text), hint)
        if not found.authority or match["rest"] or any(part in ("", ".", "..") for part in found.key.split("/") if found.key):
            hint = f"write it as {scheme}://bucket/prefix, without `..`, empty parts or `#`"
            raise StoreError("not the address of a bucket and a prefix", _harmless(text), hint)
        return found

    def _refuse_credentials(self, text: str, kind: str) -> None:
        user, at, _ = self.authority.rpartition("@")
        says_who = bool(at) and not (kind == "abfs" and ":" not in user) and not (kind == "gs" and user == "anonymous")
        if says_who or any(_is_secret(name) for name, _ in self.parameters()):
            hint = f"leave them out of the address, and set {_CREDENTIALS[kind]}"
            raise StoreError("credentials do not belong in an address, which is shown and stored", _harmless(text), hint)

    def parameters(self) -> list[tuple[str, str]]:
        """Return the decoded parameters after the question mark, as pairs of name and value."""
        return parse_qsl(self.query, keep_blank_values=True)

    def child(self, name: str) -> Self:
        """Return the address of `name` below this one."""
        return replace(self, key=f"{self.key}/{name}".strip("/"))

    def base(self) -> Self:
        """Return the address of the bucket itself."""
        return replace(self, key="")

    def __str__(self) -> str:
        path = f"/{self.key}" if self.key else ""
        return f"{self.scheme}://{self.authority}{path}{'?' if self.query else ''}{self.query}"


def joined(output: str, name: str) -> str:
    """Return the text of an address with a name appended to its path; parameters after a question mark are kept."""
    start, mark, query = output.partition("?")
    return f"{start.rstrip('/')}/{name}{mark}{query}"


def kind_of(scheme: str) -> str:
    """Return `s3`, `gs` or `abfs` for any spelling of a scheme; an unknown scheme is returned unchanged."""
    return _SAME.get(scheme, scheme)


def _is_secret(name: str) -> bool:
    return re.search(r"key|secret|token|password|credential|sig|client_id|tenant_id", name.lower()) is not None


def _harmless(text: str) -> str:
    """Return the text without possible secrets, that is without anything before an @ and without the values of parameters."""
    start, _, query = text.partition("?")
    scheme, _, rest = start.partition("://")
    authority, slash, key = rest.partition("/")
    shown = f"...@{authority.rpartition('@')[2]}" if "@" in authority else authority
    names = "&".join(f"{part.partition('=')[0]}=..." for part in query.split("&") if part)
    return f"{scheme}://{shown}{slash}{key}" + (f"?{names}" if names else "")
