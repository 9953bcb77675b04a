"""The object stores of Google and Azure through pyarrow's clients: addresses, credentials, and a check that the store answers.

These clients retry for minutes if nobody answers, and pyarrow's client for Azure ends the whole process if it finds no credentials
(pyarrow 26). The first request therefore runs in a separate process with a time limit.

Messages never show credentials, and credentials are never taken from an address.
"""

import base64
import binascii
import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

_FIRST_ANSWER_S = 30.0
_FIRST_RETRIES_S = 5.0  # retry limit of Google's client until the address is verified
_RETRIES_S = 25.0
_AZURE = "abfs://container@account.dfs.core.windows.net/prefix"
_AZURE_RIGHTS = (
    "set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or run `az login`"
)
_FIRST_QUESTION = """
import datetime, json, sys
from pyarrow import fs
kind, options, bucket = json.load(sys.stdin)
if "retry_time_limit" in options:
    options["retry_time_limit"] = datetime.timedelta(seconds=options["retry_time_limit"])
try:
    system = getattr(fs, kind)(**options)
    if kind == "GcsFileSystem":  # list the bucket: reading its metadata needs a permission that writers often lack
        system.get_file_info(fs.FileSelector(bucket))
        found = "Directory"
    else:
        found = system.get_file_info(bucket).type.name
    print(json.dumps([found, ""]))
except Exception as error:
    print(json.dumps(["", str(error)]))
"""


class CloudError(Exception):
    """An object store cannot be used.

    Args:
        problem: what is wrong.
        hint: what to do.
        may_pass: whether the failure is transient, because the store did not answer.
    """

    def __init__(self, problem: str, hint: str, *, may_pass: bool = False) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint
        self.may_pass = may_pass


class Client(NamedTuple):
    """The kind and the arguments of one of pyarrow's file systems."""

    kind: str
    """`AzureFileSystem` or `GcsFileSystem`."""
    options: dict[str, Any]
    """Its arguments, JSON values only; they may contain credentials."""
    bucket: str


def azure_client(authority: str, given: Mapping[str, str], environment: Mapping[str, str]) -> Client:
    """Build the client for an address of Azure.

    Args:
        authority: `container@account.dfs.core.windows.net`, `container@account`, or `container` in the account named by
            AZURE_STORAGE_ACCOUNT.
        given: the parameters after the question mark in the address.
        environment: the environment variables (os.environ).

    Raises:
        CloudError: no account or no container is named, or the credentials cannot be used.
    """
    container, _, host = authority.rpartition("@") if "@" in authority else (authority, "", "")
    account, _, domain = (host or environment.get("AZURE_STORAGE_ACCOUNT", "")).partition(".")
    if "." in container or ":" in host:
        raise CloudError("names no container", f"write it as {_AZURE}; an emulator is named by `?blob_storage_authority=host:port`")
    if not account:
        raise CloudError("names no account", f"write it as {_AZURE}, or set AZURE_STORAGE_ACCOUNT")
    if not re.fullmatch(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]", container):
        raise CloudError(f"`{container}` cannot be a container", "a container has 3 to 63 small letters, digits and single hyphens")
    options: dict[str, Any] = {"account_name": account} | _azure_place(domain, given) | _azure_rights(environment)
    if options.get("blob_storage_scheme") == "http" and not ("account_key" in options or "sas_token" in options):
        raise CloudError("is asked without TLS, which takes a key", "set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or leave out `http`")
    return Client("AzureFileSystem", options, container)


def _azure_place(domain: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return hosts and schemes; those of the data lake default to those of the blobs."""
    names = ("blob_storage_authority", "dfs_storage_authority", "blob_storage_scheme", "dfs_storage_scheme")
    place = {name: given[name] for name in names if name in given}
    if given.get("enable_tls") == "false":
        place = {"blob_storage_scheme": "http"} | place
    suffix = re.sub(r"^(dfs|blob)\.", "", domain)
    if suffix and suffix != "core.windows.net":
        place = {"blob_storage_authority": f".blob.{suffix}", "dfs_storage_authority": f".dfs.{suffix}"} | place
    elif place.get("blob_storage_authority", ".")[0] != ".":
        place.setdefault("dfs_storage_authority", place["blob_storage_authority"])
    if "blob_storage_scheme" in place:
        place.setdefault("dfs_storage_scheme", place["blob_storage_scheme"])
    return place


def _azure_rights(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the credentials from the environment; without any, Azure's default credential is used."""
    key = environment.get("AZURE_STORAGE_KEY", "")
    token = environment.get("AZURE_STORAGE_SAS_TOKEN", "")
    if key:
        try:
            base64.b64decode(key, validate=True)  # with an invalid key, pyarrow's client would end the process
        except (binascii.Error, ValueError):
            raise CloudError(
                "cannot be used: AZURE_STORAGE_KEY is not a key", "copy the account's key, 88 characters that end with =="
            ) from None
        return {"account_key": key}
    return {"sas_token": token if token.startswith("?") else f"?{token}"} if token else {}


def google_client(authority: str, given: Mapping[str, str], environment: Mapping[str, str]) -> Client:
    """Build the client for an address of Google: `bucket` or `anonymous@bucket`.

    Args:
        authority, given, environment: as for `azure_client`. STORAGE_EMULATOR_HOST is read if no endpoint is given.

    Raises:
        CloudError: `retry_limit_seconds` is not a number.
    """
    who, _, bucket = authority.rpartition("@")
    options: dict[str, Any] = {name: given[name] for name in ("endpoint_override", "scheme", "project_id") if name in given}
    emulator = environment.get("STORAGE_EMULATOR_HOST", "")
    if emulator and "endpoint_override" not in options:
        scheme, _, host = emulator.rpartition("://")
        options |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "http"}
    if who == "anonymous" or options.get("scheme") == "http":  # never send a token without TLS
        options["anonymous"] = True
    try:
        options["retry_time_limit"] = float(given.get("retry_limit_seconds", _RETRIES_S))
    except ValueError:
        raise CloudError("cannot be used: `retry_limit_seconds` is not a number", "write `?retry_limit_seconds=25`") from None
    return Client("GcsFileSystem", options, bucket)


def opened_cloud(client: Client) -> Any:
    """Open pyarrow's file system once the store has answered.

    Raises:
        CloudError: there is no such container, there are no credentials, or there is no answer within half a minute.
        OSError: any other error of the store.
    """
    from pyarrow import fs

    if not hasattr(fs, client.kind):
        raise CloudError(f"cannot be used: this pyarrow has no {client.kind}", "install one that has, or use another store")
    _ask_first(client)
    options = dict(client.options)
    if "retry_time_limit" in options:
        options["retry_time_limit"] = timedelta(seconds=options["retry_time_limit"])
    return getattr(fs, client.kind)(**options)


def put_aside(system: Any, place: str, data: bytes) -> None:
    """Write an object of an Azure store as a whole: first under a temporary name, then by a single copy.

    Without this, the client would create an empty object and fill it by later requests.

    Args:
        system: pyarrow's file system.
        place: the path of the object in it.
        data: the whole content.

    Raises:
        OSError: the object was not written; `place` is unchanged.
    """
    folder, _, name = place.rpartition("/")
    aside = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp"
    with system.open_output_stream(aside) as stream:
        stream.write(data)
    try:
        system.copy_file(aside, place)
    except OSError as error:
        if "BlobNotFound" in str(error):
            raise OSError("the temporary object was removed") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            system.delete_file(aside)


def _ask_first(client: Client) -> None:
    options = dict(client.options)
    if "retry_time_limit" in options:
        options["retry_time_limit"] = min(options["retry_time_limit"], _FIRST_RETRIES_S)
    question = json.dumps([client.kind, options, client.bucket])
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _FIRST_QUESTION],
            input=question,
            capture_output=True,
            text=True,
            timeout=_FIRST_ANSWER_S,
            check=False,
            env=os.environ.copy(),
        )
    except subprocess.TimeoutExpired:
        problem = f"cannot be used: no answer within {_FIRST_ANSWER_S:g} s"
        raise CloudError(problem, "check the network, the address and its endpoint", may_pass=True) from None
    try:
        found, error = json.loads(answer.stdout)
    except ValueError:
        raise _error_of_ended_client(client, answer.stderr) from None
    if error and re.search(r"GetBucketMetadata.*PERMISSION_DENIED|PERMISSION_DENIED.*GetBucketMetadata", error):
        return  # the bucket could be listed, and is empty
    if found == "NotFound" or re.search(r"google::cloud::Status\(NOT_FOUND|ContainerNotFound", error):
        kind = "container" if client.kind == "AzureFileSystem" else "bucket"
        raise CloudError(f"cannot be used: there is no {kind} {client.bucket}", "make it, or correct the address")
    if "OAuth2 access token" in error:
        hint = "set GOOGLE_APPLICATION_CREDENTIALS to the file of a key, or run `gcloud auth application-default login`"
        raise CloudError("cannot be used: no credentials were found", hint, may_pass="UNAVAILABLE" in error)
    if error:
        raise OSError(error)


def _error_of_ended_client(client: Client, output: str) -> CloudError:
    """Return the error for a client that ended its process instead of raising an exception."""
    if re.search(r"AuthenticationException|credential", output, re.IGNORECASE):
        hint = _AZURE_RIGHTS if client.kind == "AzureFileSystem" else "set GOOGLE_APPLICATION_CREDENTIALS"
        return CloudError("cannot be used: no credentials were found", hint)
    lines = output.strip().splitlines()
    return CloudError(f"cannot be used: pyarrow's client failed ({lines[-1][:200] if lines else 'without a message'})", "check the address")
