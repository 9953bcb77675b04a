"""The record of what a stage measures. It is written after each item, so that a process that dies or is killed loses one item only."""

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORMAT = 1
OUT_OF_TIME = "no time was left"
_LONGEST_TRACE = 2500  # characters


class SkippedError(Exception):
    """An item does not apply to this machine; the message says why."""


class DeviceLostError(Exception):
    """The process can no longer use the device, so the stage has to continue in a new process."""


class Record:
    """The figures and failures of one stage, written to a file after each item.

    Args:
        path: the file; if it exists, the items in it are not repeated.
        seconds: the time that the stage may take; items that would begin later are skipped.
        is_lost: whether an error means that this process can no longer use the device.
        after_each: called after each item, for example to release memory.
    """

    def __init__(
        self,
        path: Path,
        seconds: float,
        is_lost: Callable[[BaseException], bool] = lambda _: False,
        after_each: Callable[[], None] = lambda: None,
    ) -> None:
        self._path, self._ends = path, time.monotonic() + seconds
        self._is_lost, self._after_each = is_lost, after_each
        self.data = read_json(path) or {"figures": {}, "failures": {}, "skipped": {}, "item_s": {}}

    @property
    def seconds_left(self) -> float:
        """The seconds until the stage has to end."""
        return self._ends - time.monotonic()

    def put(self, name: str, value: Any) -> None:
        """Store a figure."""
        self.data["figures"][name] = value
        self.write()

    def item(self, name: str, function: Callable[[], Any]) -> Any:
        """Run one item and store what it returns, or why it failed or was skipped.

        Args:
            name: the item's name, unique within the stage.
            function: returns the item's figures as plain values; None is stored as "ok".

        Returns:
            The item's figures, even if an earlier process measured them; None if there are none.

        Raises:
            DeviceLostError: the item failed, and no other item can run in this process.
        """
        data = self.data
        if name in data["failures"] or name in data["skipped"] or name in data["item_s"]:
            return data["figures"].get(name)
        if self.seconds_left <= 0:
            data["skipped"][name] = OUT_OF_TIME
            self.write()
            return None
        data["running"] = {"item": name, "since": time.time()}
        self.write()
        started = time.perf_counter()
        value = self.part(name, function)
        if name not in data["failures"] and name not in data["skipped"]:
            data["figures"][name] = "ok" if value is None else value
        seconds = data["item_s"][name] = round(time.perf_counter() - started, 3)
        del data["running"]
        self.write()
        state = "FAILED" if name in data["failures"] else "skipped" if name in data["skipped"] else "ok"
        reason = data["failures"].get(name, {}).get("error") or data["skipped"].get(name) or ""
        print(f"  {state:7s} {name} ({seconds:.1f} s){': ' if reason else ''}{first_line(reason)}", flush=True)
        self.part(f"{name}: release", self._after_each)
        self.write()
        return value

    def part(self, name: str, function: Callable[[], Any]) -> Any:
        """Run a part of an item; if it fails, store the failure under `name` and return None, so that the item can go on."""
        try:
            return function()
        except SkippedError as reason:
            self.data["skipped"][name] = str(reason)
        except DeviceLostError:  # of a part of this item
            raise
        except Exception as error:  # whatever fails is a finding, and the next item has to run
            self.data["failures"][name] = {
                "error": f"{type(error).__name__}: {error}"[:600],
                "trace": traceback.format_exc()[-_LONGEST_TRACE:],
            }
            if self._is_lost(error):
                running = self.data.pop("running", {}).get("item", name)
                self.data["item_s"].setdefault(running, 0.0)  # the next process does not repeat it
                self.write()
                print(f"  FAILED  {name}: {first_line(str(error))}", flush=True)
                raise DeviceLostError(name) from error
        return None

    def finish(self) -> None:
        """Mark the stage as finished."""
        self.data["finished"] = True
        self.write()

    def write(self) -> None:
        """Write the file; a reader sees either the old or the new content."""
        write_json(self._path, self.data)


def first_line(text: str, n: int = 160) -> str:
    """Return the first line of a message, shortened to `n` characters."""
    return text.strip().partition("\n")[0][:n]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if there is no file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a JSON object expected, found {type(found).__name__}")
    return found


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replace a file by a JSON object; a reader sees either the old or the new content."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    scratch.write_text(json.dumps(data, indent=1, default=str), encoding="utf-8")
    scratch.replace(path)


def read_results(path: Path) -> dict[str, Any]:
    """Read the results of earlier calls, or return empty ones if there is no file.

    Raises:
        ValueError: the file is damaged, or is not a result of this command; the message names it.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a result of this command ({error}); give another --out") from error
    if found is None:
        return {"format": FORMAT, "stages": {}, "earlier": []}
    if found.get("format") != FORMAT or not isinstance(found.get("stages"), dict):
        raise ValueError(f"{path} expects format {FORMAT} with stages, found format {found.get('format')}; give another --out")
    return found


def merge(results: dict[str, Any], name: str, entry: dict[str, Any]) -> None:
    """Put a stage's entry into the results. An entry of an earlier call moves to `earlier`, so that nothing measured is lost.

    Args:
        results: as `read_results` returns them. Modified in place.
        name: the name of the stage.
        entry: the stage's entry; `call` identifies the call that made it, so that a growing entry replaces itself.
    """
    old = results["stages"].get(name)
    if old is not None and old.get("call") != entry.get("call"):
        results.setdefault("earlier", []).append({"stage": name, **old})
    results["stages"][name] = entry
