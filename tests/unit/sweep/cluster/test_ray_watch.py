"""The driver notices at once when its local Ray's processes die."""

import threading
from typing import Any

import pytest

from sweep.cluster import local as ray_watch
from sweep.cluster.local import LocalRayWatch


class Node:
    """Ray's node object, with processes that the test lets die."""

    def __init__(self) -> None:
        self.dead: list[str] = []

    def dead_processes(self) -> list[tuple[str, Any]]:
        return [(name, None) for name in self.dead]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    found = Node()
    monkeypatch.setattr(ray_watch, "_node", lambda: found)
    monkeypatch.setattr(ray_watch, "_POLL_S", 0.01)
    return found


def test_a_dead_raylet_is_told_once_and_a_dead_monitor_is_not(node: Node) -> None:
    told: list[str] = []
    has_told = threading.Event()
    LocalRayWatch(lambda what: (told.append(what), has_told.set())[0])
    node.dead = ["log_monitor"]
    assert not has_told.wait(0.2)
    node.dead = ["log_monitor", "raylet"]
    assert has_told.wait(10)
    assert not threading.Event().wait(0.1)
    assert told == ["Ray's raylet died"]


def test_what_dies_after_the_end_is_no_news(node: Node) -> None:
    told: list[str] = []
    watch = LocalRayWatch(told.append)
    watch.end()
    node.dead = ["gcs_server", "raylet"]
    assert not threading.Event().wait(0.2)
    assert told == []
