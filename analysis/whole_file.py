"""Writes a file whole: whoever reads it meanwhile sees the old one."""

import contextlib
import os
import secrets
from pathlib import Path

from analysis.file_errors import writing


def write_whole(target: Path, data: bytes) -> None:
    """Write aside, sync, and put it in place of what is there; a link that is there is replaced, not written through.

    Raises:
        WriteError: the disk did not take it; what was there stays, and nothing else is left.
    """
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with writing(target):
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)  # half a file would keep a full disk full
            raise
