"""The checkpoints of unfinished packs. Each is a safetensors file whose header lists its trials and its epoch."""

import contextlib
import io
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from sweep.store.errors import StoreError, UnreadableError
from sweep.store.files import HINT, NotPlainError, checked_name, is_name, open_plain, read_whole, reading, write_whole
from sweep.store.folder import Folder, Version, remove
from sweep.store.remote.path import RemotePath, StorePath, concurrently
from sweep.store.rows import Rows

_HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format itself
_HEADER_BYTES = 1 << 16  # most headers are shorter than this


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of an unfinished pack."""

    pack_id: str
    attempt: int
    retry: int
    trial_ids: tuple[str, ...]
    epoch: int
    path: StorePath


class Checkpoints:
    """The checkpoints of one results folder.

    Args:
        folder: the results folder.
        rows: the rows of the folder, which show which trials are complete.
    """

    def __init__(self, folder: Folder, rows: Rows) -> None:
        self._folder, self._rows = folder, rows

    def save(self, pack_id: str, attempt: int, retry: int, data: bytes) -> None:
        """Store a checkpoint of an unfinished pack, then remove the pack's earlier checkpoints.

        If the pack already has a checkpoint of a newer attempt or retry, nothing is written.

        Args:
            pack_id: id of the pack.
            attempt: number of the attempt.
            retry: number of the pack's try within the attempt.
            data: the content of a safetensors file whose metadata holds, as JSON, `trial_ids` (a list) and `epoch` (an integer).

        Raises:
            UnreadableError: `data` is not such a file.
            StoreWriteError: the checkpoint could not be written; earlier ones are kept.
        """
        path = self._folder.root / "checkpoints" / f"{checked_name(pack_id, 'pack id')}.{attempt:d}-{retry:d}.safetensors"
        _header(io.BytesIO(data), len(data), path)
        others = [version for version in self._folder.versions("checkpoints") if version.id == pack_id and version.path != path]
        if any(version.order > (attempt, retry) for version in others):
            return
        write_whole(path, data)
        remove(version.path for version in others)

    def read(self) -> list[Checkpoint]:
        """Return all readable checkpoints, ordered by pack id, attempt and retry. Only their headers are read.

        After a crash a pack may have two checkpoints.
        """

        def read(version: Version) -> list[Checkpoint]:
            with contextlib.suppress(UnreadableError, FileNotFoundError):  # `unreadable` reports it, or its pack has just replaced it
                return [self._read_one(version)]
            return []

        read_each = concurrently(read, self._folder.versions("checkpoints"), is_remote=self._folder.is_remote)
        return [checkpoint for found in read_each for checkpoint in found]

    def load(self, checkpoint: Checkpoint) -> bytes:
        """Return the content of a checkpoint, which is a safetensors file.

        Raises:
            StoreError: the checkpoint no longer exists or cannot be read.
        """
        try:
            return read_whole(checkpoint.path)
        except FileNotFoundError as error:
            raise StoreError("this checkpoint is gone", checkpoint.path, "list the checkpoints again") from error

    def remove(self, pack_id: str | None = None, complete_ids: Collection[str] | None = None) -> None:
        """Remove the checkpoints of one pack, or those whose trials are all complete.

        Args:
            pack_id: remove only checkpoints of this pack; without `complete_ids`, remove all of them.
            complete_ids: remove only checkpoints whose trials are all among these. If neither argument is given, these are all complete
                trials, except those that were trained but not measured, which can still be measured from their checkpoint.
        """
        if pack_id is not None and complete_ids is None:
            remove(version.path for version in self._folder.versions("checkpoints") if version.id == pack_id)
            return
        checkpoints = self.read()
        if not checkpoints:
            return
        done = self._rows.measured() if complete_ids is None else set(complete_ids)
        ended = [checkpoint for checkpoint in checkpoints if done.issuperset(checkpoint.trial_ids)]
        remove(checkpoint.path for checkpoint in ended if pack_id in (None, checkpoint.pack_id))

    def _read_one(self, version: Version) -> Checkpoint:
        trial_ids, epoch = _read_header(version.path)
        return Checkpoint(version.id, version.attempt, version.retry, trial_ids, epoch, version.path)

    def every(self) -> list[tuple[StorePath, Callable[[], Checkpoint]]]:
        """Return the path of every checkpoint, each with a function that reads its header."""
        return [(version.path, partial(self._read_one, version)) for version in self._folder.versions("checkpoints")]


def _read_header(path: StorePath) -> tuple[tuple[str, ...], int]:
    """Return the trial ids and epoch of a checkpoint file, without reading all of it.

    Raises:
        FileNotFoundError: the file does not exist.
        StoreError: as for `read_whole`.
        UnreadableError: as for `_header`.
    """
    if isinstance(path, RemotePath):
        start, n_bytes = path.read_start(_HEADER_BYTES)
        needed = 8 + int.from_bytes(start[:8], "little")
        if len(start) < needed <= n_bytes:
            start, n_bytes = path.read_start(needed)
        return _header(io.BytesIO(start), n_bytes, path)
    try:
        with reading(path), open_plain(path) as file:
            return _header(file, os.fstat(file.fileno()).st_size, path)
    except NotPlainError as error:
        raise UnreadableError(str(error), path, HINT) from error


def _header(stream: BinaryIO, n_bytes: int, path: StorePath) -> tuple[tuple[str, ...], int]:
    """Return the trial ids and epoch from the header of a safetensors file; the tensors are not read.

    Raises:
        UnreadableError: the file is truncated (its length differs from the one in its header), or lacks `trial_ids` or `epoch`.
    """
    n_header = int.from_bytes(stream.read(8), "little")
    if n_bytes < 8 or n_header > min(_HEADER_LIMIT, n_bytes - 8):
        raise UnreadableError(f"torn: {n_bytes} bytes are not a whole safetensors file", path)
    try:
        header = json.loads(stream.read(n_header))
        notes = header.pop("__metadata__", {})
        n_tensors = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        trial_ids, epoch = json.loads(notes["trial_ids"]), json.loads(notes["epoch"])
    except (ValueError, OverflowError, RecursionError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise UnreadableError(f"not a checkpoint header: {error!r}", path) from error
    if 8 + n_header + n_tensors != n_bytes:
        raise UnreadableError(f"torn: {n_bytes} bytes, its header promises {8 + n_header + n_tensors}", path)
    if not isinstance(trial_ids, list) or not all(is_name(trial_id) for trial_id in trial_ids):
        raise UnreadableError(f"trial_ids is a list of trial ids, found {trial_ids!r}", path)
    if type(epoch) is not int or epoch < 0:
        raise UnreadableError(f"epoch is a whole number >= 0, found {epoch!r}", path)
    return tuple(trial_ids), epoch
