"""Reading MNIST, Fashion-MNIST and CIFAR-10 as they are published: found anywhere, whole, or refused with a reason."""

import gzip
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from original_files import BATCHES, idx_bytes, pack_cifar, small_images, write_cifar_binary, write_cifar_python, write_idx

from trainer.problems.images import downloads, idx
from trainer.problems.images.cifar10 import cifar10
from trainer.problems.images.sources import DataError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither this machine's own data nor the network."""
    monkeypatch.setattr(idx, "SYSTEM_FOLDERS", {})
    monkeypatch.setattr(downloads, "download", lambda name, root: "no network in this test")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", [".", "MNIST/raw", "MNIST", "mnist"])
def test_mnist_is_found_in_every_usual_place(tmp_path: Path, place: str, packed: bool) -> None:
    made = write_idx(tmp_path / place, packed=packed)
    read = idx.mnist(tmp_path).load()
    for part, (images, labels) in ((read.train, made["train"]), (read.test, made["t10k"])):
        np.testing.assert_array_equal(part.images, images)
        np.testing.assert_array_equal(part.labels, labels)


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "fashion-mnist", "."])
def test_fashion_mnist_is_found_in_every_usual_place(tmp_path: Path, place: str) -> None:
    write_idx(tmp_path / "MNIST/raw", seed=1)
    write_idx(tmp_path / place, seed=2)
    assert idx.fashion_mnist(tmp_path).load().train.images[0, 1, 1] == small_images(2, 60)[0][0, 1, 1]


def test_debians_package_is_looked_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "SYSTEM_FOLDERS", {"FashionMNIST": (tmp_path / "usr",)})
    write_idx(tmp_path / "usr", packed=True)
    assert idx.fashion_mnist(tmp_path / "data").files[0].parent == tmp_path / "usr"
    write_idx(tmp_path / "data")
    assert idx.fashion_mnist(tmp_path / "data").files[0].parent == tmp_path / "data"


def test_the_digest_is_of_the_content_not_of_its_form(tmp_path: Path) -> None:
    write_idx(tmp_path / "a")
    write_idx(tmp_path / "b", packed=True)
    write_idx(tmp_path / "c", seed=5)
    a, b, c = (idx.mnist(tmp_path / name).summary(tmp_path / "cache") for name in "abc")
    assert a == b
    assert a.digest != c.digest
    assert (a.n_train, a.n_test) == (60, 20)


def test_the_digest_is_kept_until_a_file_changes(tmp_path: Path) -> None:
    write_idx(tmp_path)
    original = idx.mnist(tmp_path)
    first = original.summary(tmp_path / "cache")
    kept = list((tmp_path / "cache" / "sources").iterdir())
    kept[0].write_text('{"digest": "kept", "n_train": 60, "n_test": 20}')
    assert original.summary(tmp_path / "cache").digest == "kept"
    kept[0].write_text('{"digest": "ke')
    assert original.summary(tmp_path / "cache") == first
    images, _ = small_images(9, 60)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    os.utime(tmp_path / "train-images-idx3-ubyte", ns=(1, 1))
    assert original.summary(tmp_path / "cache").digest != first.digest
    with pytest.raises(DataError, match=r"MNIST in .* changed while it was being used"):
        original.read(tmp_path / "cache", first)


def test_what_is_missing_is_said_with_names_folders_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        idx.mnist(tmp_path)
    text = str(caught.value)
    for part in ("MNIST is missing", "t10k-labels-idx1-ubyte", str(tmp_path / "MNIST/raw"), "no network in this test", "docs/data.md"):
        assert part in text
    with pytest.raises(DataError, match=r"CIFAR10 is missing(.|\n)*data_batch_1.bin(.|\n)*cifar-10-python.tar.gz"):
        cifar10(tmp_path)


def test_no_download_is_tried_when_some_of_the_files_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "download", lambda name, root: pytest.fail("tried"))
    write_idx(tmp_path / "MNIST")
    (tmp_path / "MNIST" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"MNIST: 4 files expected, not there: t10k-labels-idx1-ubyte"):
        idx.mnist(tmp_path)
    write_cifar_binary(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-bin: 6 files expected, not there: data_batch_3.bin"):
        cifar10(tmp_path)


def _replace(name: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content((folder / name).read_bytes())) and None


def _swap(folder: Path) -> None:
    a, b = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    content = a.read_bytes()
    shutil.copy(b, a)
    b.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _replace("train-images-idx3-ubyte", lambda c: c[:-1]),
            r"train-images.*47,040 bytes expected after its header of 60 items, found 47,039",
        ),
        (_replace("train-images-idx3-ubyte", lambda c: c + b"x"), r"train-images.*47,040 bytes expected .*, found more"),
        (_replace("train-images-idx3-ubyte", lambda c: c[:10]), r"train-images.*images of 28 x 28 expected"),
        (_replace("train-labels-idx1-ubyte", lambda c: b""), r"train-labels.*found an empty file"),
        (_replace("t10k-labels-idx1-ubyte", lambda c: b"\0\0\x09\x01" + c[4:]), r"t10k-labels.*begins with 0x00000801\), found 0x00000901"),
        (_replace("t10k-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a"), r"t10k-labels.*labels from 0 to 9 expected, found 10"),
        (_replace("t10k-labels-idx1-ubyte", lambda c: idx_bytes(np.zeros(19, np.uint8))), r"t10k-labels.*20 labels expected.*, found 19"),
        (_replace("t10k-labels-idx1-ubyte", lambda c: idx_bytes(np.zeros(10_001, np.uint8))), r"1 to 10,000 items expected, found 10,001"),
        (
            _replace("t10k-images-idx3-ubyte", lambda c: idx_bytes(np.zeros((20, 27, 29), np.uint8))),
            r"t10k-images.*found a header of \[20, 27, 29\]",
        ),
        (_swap, r"train-images-idx3-ubyte: an idx file of images of 28 x 28 expected .*, found 0x00000801"),
    ],
)
def test_a_damaged_or_foreign_idx_file_is_named_with_its_rule(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    write_idx(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        idx.mnist(tmp_path).load()


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-9], lambda c: c[:-8] + bytes(4) + c[-4:], lambda c: b"no gzip", lambda c: c[:40] + c[41:]]
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_idx(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: a whole, readable file expected"):
        idx.mnist(tmp_path).load()


def test_a_file_of_full_size_must_be_the_original(tmp_path: Path) -> None:
    """MNIST and Fashion-MNIST have the same names and sizes; only their bytes tell them apart."""
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(10_000, np.uint8)))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((10_000, 28, 28), np.uint8)))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte: MNIST's original 10,000 items expected, found others"):
        idx.mnist(tmp_path).load()


def test_debians_fashion_mnist_is_the_original_and_is_no_mnist(tmp_path: Path) -> None:
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("not run: needs dataset-fashion-mnist")
    contents = idx.fashion_mnist(folder).load()
    assert np.bincount(contents.train.labels).tolist() == [6000] * 10
    assert contents.test.images.shape == (10_000, 28, 28)
    shutil.copytree(folder, tmp_path / "MNIST")
    with pytest.raises(DataError, match=r"MNIST's original 60,000 items expected, found others"):
        idx.mnist(tmp_path).load()


@pytest.mark.parametrize("place", [".", "CIFAR10"])
@pytest.mark.parametrize("form", ["binary", "python", "python3", "binary.tar.gz", "python.tar.gz"])
def test_cifar10_is_read_in_all_its_forms(tmp_path: Path, form: str, place: str) -> None:
    root = tmp_path / place
    made = write_cifar_binary(root) if form.startswith("binary") else write_cifar_python(root, python2=form != "python3")
    if form.endswith(".tar.gz"):
        pack_cifar(root, "cifar-10-batches-bin" if form.startswith("binary") else "cifar-10-batches-py", f"cifar-10-{form}")
    found = cifar10(tmp_path)
    read = found.load()
    np.testing.assert_array_equal(read.train.images, np.concatenate([made[name][0] for name in BATCHES[:5]]))
    np.testing.assert_array_equal(read.train.labels, np.concatenate([made[name][1] for name in BATCHES[:5]]))
    np.testing.assert_array_equal(read.test.images, made["test_batch"][0])
    write_cifar_binary(tmp_path / "other")
    assert found.summary(tmp_path / "cache") == cifar10(tmp_path / "other").summary(tmp_path / "cache")


class _Bomb:
    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self._what = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._what


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.load"])
def test_a_pickle_that_calls_something_is_refused_before_it_does(tmp_path: Path, name: str) -> None:
    module, _, function = name.partition(".")
    write_cifar_python(tmp_path)
    fired = tmp_path / "fired"
    bomb = _Bomb(getattr(__import__(module), function), f"touch {fired}")
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps({"data": bomb, "labels": []}))
    with pytest.raises(DataError, match=rf"data_batch_2: a CIFAR-10 batch expected.*found: the name (posix|{module}).*{function}"):
        cifar10(tmp_path).load()
    assert not fired.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "EOFError"),
        (b"\x80\x02}q\0X", "UnpicklingError|EOFError"),
        (b"not a pickle", "a CIFAR-10 batch expected"),
        (pickle.dumps([1, 2]), "a dictionary with `data`"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]}), "a dictionary with `data`"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 300]}), "a dictionary with `data`"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 11]}), "labels from 0 to 9 expected, found 11"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), r"found \(2, 3072\), 1 labels"),
        (pickle.dumps({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 1]}), r"found \(2, 3071\)"),
    ],
)
def test_a_damaged_batch_of_the_python_version_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_cifar_python(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_2: .*({message})"):
        cifar10(tmp_path).load()


def test_a_damaged_batch_of_the_binary_version_is_refused(tmp_path: Path) -> None:
    write_cifar_binary(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"test_batch.bin: records of 3,073 bytes expected, found 36,875 bytes"):
        cifar10(tmp_path).load()


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    write_cifar_binary(tmp_path)
    pack_cifar(tmp_path, "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    path = tmp_path / "cifar-10-binary.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz: a whole, readable archive expected"):
        cifar10(tmp_path).load()
    write_cifar_binary(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_5.bin").unlink()
    pack_cifar(tmp_path, "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    with pytest.raises(DataError, match=r"not there: data_batch_5.bin"):
        cifar10(tmp_path).load()


def test_one_batch_under_two_names_is_noticed_in_a_full_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.problems.images.cifar10._BATCH", 12)
    write_cifar_binary(tmp_path)
    with pytest.raises(DataError, match=r"images of each class expected, found \["):
        cifar10(tmp_path).load()


def test_gzip_is_chosen_by_name(tmp_path: Path) -> None:
    """A packed file under the plain name is refused: its first bytes are no idx header."""
    write_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"begins with 0x00000803\), found 0x1f8b"):
        idx.mnist(tmp_path).load()
