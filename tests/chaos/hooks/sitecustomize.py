"""Runs in every Python process of a sweep under test (this folder is first on PYTHONPATH); the product does not know about it.

CHAOS_JOURNAL names a file to which a line of JSON is written whenever an epoch begins or ends. CHAOS_MODULE names a file that is executed
when `trainer.training.two_phase` has been imported, with that module as `module`, so that a test can change it. CHAOS_CLOCK names a file
with the number of seconds by which `time.time` is ahead; it is read at every call.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from pathlib import Path


class _After(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Changes one module after it has been imported."""

    name = "trainer.training.two_phase"

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        if "CHAOS_MODULE" in os.environ:
            path = Path(os.environ["CHAOS_MODULE"])
            exec(compile(path.read_text(), str(path), "exec"), {"module": module})
        if "CHAOS_JOURNAL" in os.environ:
            module.TwoPhase.step = _journaled(module.TwoPhase.step)


def _journaled(step):
    descriptor = os.open(os.environ["CHAOS_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(what, training, epoch):
        line = {"what": what, "epoch": epoch, "trials": [spec.trial_id for spec in training.specs], "pid": os.getpid()}
        os.write(descriptor, (json.dumps(line | {"at": time.monotonic()}) + "\n").encode())

    def wrapper(self):
        epoch = self.epoch + 1
        write("begin", self, epoch)
        step(self)
        write("end", self, epoch)

    return wrapper


def _jumping(clock, path):
    def now():
        try:
            return clock() + float(path.read_text() or 0)
        except (OSError, ValueError):
            return clock()

    return now


if "CHAOS_JOURNAL" in os.environ or "CHAOS_MODULE" in os.environ:
    sys.meta_path.insert(0, _After())
if "CHAOS_CLOCK" in os.environ:
    time.time = _jumping(time.time, Path(os.environ["CHAOS_CLOCK"]))
