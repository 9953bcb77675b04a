"""torchvision's own download code against a server on this machine, and without one."""

import gzip
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from original_files import write_idx

from trainer.problems.images import idx
from trainer.problems.images.downloads import download, import_torchvision
from trainer.problems.images.sources import DataError


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a small MNIST, served as torchvision's only mirror; the checksums are right."""
    folder = tmp_path / "published"
    write_idx(folder, packed=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    mnist = import_torchvision().datasets.MNIST
    names = [(path.name, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) for path in sorted(folder.iterdir())]
    monkeypatch.setattr(mnist, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(mnist, "resources", names)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_not_there_is_downloaded_once(tmp_path: Path, published: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    first = idx.mnist(root)
    assert first.files[0] == root / "MNIST/raw/train-images-idx3-ubyte"
    assert len(first.load().train) == 60
    assert [path.name for path in root.iterdir()] == ["MNIST"], "nothing is left of the folder that it arrived in"
    assert capfd.readouterr() == ("", ""), "no progress bar where there is no terminal"
    for path in published.iterdir():
        path.unlink()
    assert idx.mnist(root).files == first.files


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(gzip.compress(b"another"))])
def test_a_download_that_fails_leaves_nothing(tmp_path: Path, published: Path, damage: object) -> None:
    damage(published / "train-images-idx3-ubyte.gz")  # type: ignore[operator]
    root = tmp_path / "data"
    with pytest.raises(DataError, match=r"MNIST is missing, and could not be downloaded(.|\n)*download: RuntimeError: "):
        idx.mnist(root)
    assert not root.exists()
    root.mkdir()
    assert download("MNIST", root)
    assert list(root.iterdir()) == []


def test_a_root_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in str(download("MNIST", tmp_path / "file" / "below"))


@pytest.mark.parametrize("is_complete", [False, True])
def test_torchvision_is_imported_with_and_without_its_operators(monkeypatch: pytest.MonkeyPatch, is_complete: bool) -> None:
    """Only the import's own complaint about the operator leads to declaring it."""
    calls = []

    def imported(name: str) -> ModuleType:
        calls.append(name)
        if not is_complete and len(calls) == 1:
            raise RuntimeError("operator torchvision::other does not exist")
        return ModuleType(name)

    monkeypatch.setattr("trainer.problems.images.downloads.importlib.import_module", imported)
    if is_complete:
        assert import_torchvision().__name__ == "torchvision"
    else:
        with pytest.raises(RuntimeError, match="other"):
            import_torchvision()
    assert len(calls) == 1


@pytest.mark.full
def test_torchvision_is_importable_in_a_fresh_process() -> None:
    code = "from trainer.problems.images.downloads import import_torchvision as i; print(i().datasets.CIFAR10.__name__, i() is i())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["CIFAR10", "True"]
