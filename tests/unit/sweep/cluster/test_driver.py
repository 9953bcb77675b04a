"""What the driver of an attempt reports to the supervisor."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.cluster.avoid import Avoidance
from sweep.cluster.driver import _report_fault
from sweep.worker.faults import WorkerError


class Sent(list[tuple[str, dict[str, Any]]]):
    """The events that were sent."""

    def send(self, event: str, **facts: Any) -> None:
        self.append((event, facts))


@pytest.mark.parametrize(
    ("kind", "event", "avoided"),
    [("passing", "pack_retried", set()), ("node", "node_avoided", {"a"}), ("backend", "user_error", set()), ("user", "user_error", set())],
)
def test_an_error_of_a_backend_ends_the_run_and_blames_no_node(tmp_path: Path, kind: str, event: str, avoided: set[str]) -> None:
    """Every other node with such a GPU would fail too, and only the user can name another backend."""
    nodes = [{"Alive": True, "NodeID": name, "Resources": {"GPU": 1.0}} for name in "ab"]
    avoidance, sent, file = Avoidance(lambda: nodes, [{"GPU": 1.0}], (), may_grow=False), Sent(), tmp_path / "error"
    file.write_bytes(pickle.dumps(WorkerError(kind, "a kernel is too large", "a", "host-a")))
    trial = SimpleNamespace(pickled_error_file=file, config={"pack": {"resources": {"GPU": 1.0}, "job": {"root": str(tmp_path)}}})
    _report_fault("pack_retried", trial, avoidance, sent)  # type: ignore[arg-type]
    assert sent[0][0] == event
    assert sent[0][1]["message"] == "a kernel is too large"
    assert avoidance.avoided == avoided
