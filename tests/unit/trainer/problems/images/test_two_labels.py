"""MultiMNIST-like problems and Cifar10Mnist: their pixels, their splits, what names them, and the file they are kept in."""

import dataclasses
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from original_files import idx_bytes, write_cifar_binary, write_cifar_python, write_idx

from trainer.catalog import PROBLEMS
from trainer.problems.images import idx
from trainer.problems.images.cifar10mnist import blend
from trainer.problems.images.overlap import overlap
from trainer.problems.images.rotation import RandomRotation
from trainer.problems.images.sources import DataError
from trainer.problems.images.two_labels import normalised
from trainer.problems.problem import Problem

NAMES = ("multimnist", "multifashion", "multifashion_mnist", "cifar10mnist")
SIZES = {"n_train": 40, "n_validation": 12, "n_test": 11}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small originals of all data sets in one root; neither this machine's own nor the user's cache."""
    monkeypatch.setattr(idx, "SYSTEM_FOLDERS", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    write_idx(tmp_path / "data/MNIST/raw", seed=1)
    write_idx(tmp_path / "data/FashionMNIST/raw", seed=2, packed=True)
    write_cifar_binary(tmp_path / "data", seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def options(name: str, root: Path, **changes: Any) -> Any:
    return PROBLEMS[name].options(**{"root": str(root / "data"), "cache": str(root / "cache"), **SIZES, **changes})


def build(name: str, root: Path, **changes: Any) -> Problem:
    built: Problem = PROBLEMS[name].build(options(name, root, **changes))
    return built


def splits(problem: Problem) -> dict[str, torch.Tensor]:
    parts = {"train": problem.train, "validation": problem.validation, "test": problem.test}
    return {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("inputs", "targets")}


def is_equal(first: Problem, second: Problem) -> bool:
    return all(torch.equal(a, b) for a, b in zip(splits(first).values(), splits(second).values(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_tasks_and_normalisation(tmp_path: Path, name: str) -> None:
    problem, facts = build(name, tmp_path), options(name, tmp_path).facts()
    shape = (3, 32, 32) if name == "cifar10mnist" else (1, 28, 28)
    assert problem.name == name
    assert [len(part) for part in (problem.train, problem.validation, problem.test)] == list(SIZES.values())
    assert problem.train.inputs.shape == (40, *shape)
    assert problem.train.inputs.dtype == torch.float32
    assert problem.train.inputs.is_contiguous(memory_format=torch.channels_last), "or the trainer copies it"
    assert problem.train.targets.shape == (40, 2)
    assert problem.train.targets.dtype == torch.int64
    assert tuple(task.name for task in problem.tasks) == facts.tasks
    assert tuple(task.guess_loss for task in problem.tasks) == pytest.approx(facts.guess_losses)
    assert set(problem.networks) >= set(PROBLEMS[name].models)
    means, deviations = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)) if shape[0] == 3 else ((0.1307,), (0.3081,))
    for channel, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        pixels = (problem.train.inputs[:, channel] * deviation + mean) * 255
        assert float((pixels - pixels.round()).abs().max()) < 1e-3
        assert 0 <= round(float(pixels.min())) < round(float(pixels.max())) <= 255


@pytest.mark.parametrize("name", NAMES)
def test_only_colour_images_are_turned_in_training(tmp_path: Path, name: str) -> None:
    """By up to 20 degrees, with black corners: black as it is after normalisation."""
    problem = build(name, tmp_path)
    if name != "cifar10mnist":
        assert problem.augment is None
        return
    assert isinstance(problem.augment, RandomRotation)
    assert problem.augment.degrees == 20
    black = normalised(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)).flatten()
    assert torch.equal(torch.tensor(problem.augment.fill), black)
    turned = problem.augment(problem.train.inputs, torch.Generator().manual_seed(0))
    corners = (turned[:, :, 0, 0] == black).all(dim=1)
    assert 20 < int(corners.sum()) <= 40, "but for small angles nothing of the image lies in a corner"
    assert not (problem.train.inputs[:, :, 0, 0] == black).all(dim=1).any()


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_the_images_before_normalisation(tmp_path: Path, name: str) -> None:
    problem = build(name, tmp_path)
    assert problem.pictures is not None
    pixels = problem.pictures(problem.train.inputs) * 255
    assert float((pixels - pixels.round()).abs().max()) < 1e-3
    assert 0 <= round(float(pixels.min())) < round(float(pixels.max())) <= 255


def test_classes_have_their_names(tmp_path: Path) -> None:
    found = {name: [task.classes for task in build(name, tmp_path).tasks] for name in NAMES}
    assert found["multimnist"] == [(), ()]
    assert found["multifashion"][0] == found["multifashion"][1] == found["multifashion_mnist"][0]
    assert found["multifashion"][0][9] == "ankle boot"
    assert found["cifar10mnist"][0][3] == "cat"
    assert found["multifashion_mnist"][1] == found["cifar10mnist"][1] == ()


def test_default_sizes_are_the_papers() -> None:
    for name in NAMES:
        entry = PROBLEMS[name].options()
        assert (entry.n_train, entry.n_validation, entry.n_test) == (40_000 if name == "cifar10mnist" else 50_000, 10_000, 10_000)
        assert entry.facts().n_train == entry.n_train


def test_a_pair_made_by_hand() -> None:
    """Where the canvas is flat the resize changes nothing: corners show the first image, the overlap, and the second."""
    first, second = np.full((1, 28, 28), 90, np.uint8), np.full((1, 28, 28), 200, np.uint8)
    pair = overlap(first, second)[0]
    assert pair.shape == (28, 28)
    assert pair[0, 0] == pair[2, 15] == 90, "the first image alone, above row 6 of 36"
    assert pair[10, 10] == pair[20, 20] == pair[25, 25] == 200, "the brighter one; below row 28 the second alone"
    assert pair[0, 27] == pair[27, 0] == pair[27, 27] == 0, "nothing"
    assert overlap(second, first)[0, 10, 10] == 200, "the maximum, not the later one"
    # The canvas against a resize in exact arithmetic: weights of a triangle as wide as two input steps, normalised.
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 5, 28, 28), dtype=np.uint8)
    canvas = np.zeros((5, 36, 36))
    canvas[:, :28, :28] = first
    canvas[:, 6:34, 6:34] = np.maximum(canvas[:, 6:34, 6:34], second)
    centres, scale = (np.arange(28) + 0.5) * 36 / 28, 36 / 28
    weights = np.maximum(0, 1 - np.abs(np.arange(36) + 0.5 - centres[:, None]) / scale)
    weights /= weights.sum(axis=1, keepdims=True)
    assert np.abs(weights @ canvas @ weights.T - overlap(first, second)).max() < 1.6, "rounded once for each direction"


def test_a_blend_made_by_hand() -> None:
    picture = np.arange(3 * 32 * 32, dtype=np.uint32).reshape(1, 3, 32, 32).astype(np.uint8)
    digit = np.zeros((1, 28, 28), np.uint8)
    assert (blend(picture, digit) == picture).all()
    digit[0, 10:18, 10:18] = 255
    mixed = blend(picture, digit)[0]
    assert (mixed[:, :8] == picture[0, :, :8]).all()
    for channel in range(3):
        assert mixed[channel, 16, 16] == (int(picture[0, channel, 16, 16]) + 255 + 1) // 2


def test_both_labels_belong_to_what_is_seen(tmp_path: Path) -> None:
    """Images of one gray value each, which says their label: the left one shows at the upper left, the right one below."""
    for place, base in (("MNIST/raw", 20), ("FashionMNIST/raw", 150)):
        for part, n in (("train", 60), ("t10k", 20)):
            labels = (np.arange(n) % 10).astype(np.uint8)
            images = np.broadcast_to((base + labels)[:, None, None], (n, 28, 28)).copy()
            folder = tmp_path / "other" / "data" / place
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
            (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    for name, left_base, right_base in (("multimnist", 20, 20), ("multifashion", 150, 150), ("multifashion_mnist", 150, 20)):
        problem = build(name, tmp_path / "other")
        for part in (problem.train, problem.validation, problem.test):
            pixels = ((part.inputs * 0.3081 + 0.1307) * 255).round()[:, 0]
            torch.testing.assert_close(pixels[:, 1, 1] - left_base, part.targets[:, 0].float())
            torch.testing.assert_close(pixels[:, 24, 24] - right_base, part.targets[:, 1].float())


def visible(problem: Problem, where: tuple[Any, ...]) -> list[set[bytes]]:
    """A part of each image, as bytes, of training, validation and test."""
    parts = (problem.train, problem.validation, problem.test)
    return [{np.ascontiguousarray(image[where]).tobytes() for image in part.inputs.numpy()} for part in parts]


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_share_no_original_image(tmp_path: Path, name: str) -> None:
    """The first row shows one original alone; with as many pairs as images, each shows in one split only."""
    seen = visible(build(name, tmp_path, n_train=48), (slice(None), 0, slice(20)))
    assert [len(part) for part in seen] == [48, 12, 11]
    assert len(set.union(*seen)) == 71


def test_partners_come_from_the_same_split(tmp_path: Path) -> None:
    """Only the second image reaches the last rows: what shows there in one split is never seen in another."""
    seen = visible(build("multimnist", tmp_path, n_train=48), (0, 24, slice(8, 26)))
    assert len(set.union(*seen)) == sum(map(len, seen))
    assert len(seen[0]) < 48, "drawn with replacement: some partners come twice"


def test_cifar10mnist_keeps_the_ith_digit_on_the_ith_picture(tmp_path: Path) -> None:
    digits, pictures = write_idx(tmp_path / "data/MNIST/raw", seed=1), write_cifar_binary(tmp_path / "data", seed=3)
    labels = np.concatenate([pictures[f"data_batch_{number}"][1] for number in range(1, 6)])
    expected = list(zip(labels.tolist(), digits["train"][1].tolist(), strict=True))
    problem = build("cifar10mnist", tmp_path, n_train=48)
    found = [tuple(pair.tolist()) for part in (problem.train, problem.validation) for pair in part.targets]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_tensors(tmp_path: Path, name: str) -> None:
    first = build(name, tmp_path)
    assert is_equal(first, build(name, tmp_path, cache=str(tmp_path / "another")))
    assert not torch.equal(first.train.inputs, build(name, tmp_path, data_seed=1).train.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_training_pairs_leave_validation_and_test_as_they_are(tmp_path: Path, name: str) -> None:
    first, second = splits(build(name, tmp_path)), splits(build(name, tmp_path, n_train=20))
    for key in ("validation.inputs", "validation.targets", "test.inputs", "test.targets"):
        assert torch.equal(first[key], second[key])


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_names_data_and_options_but_no_folder(tmp_path: Path, name: str) -> None:
    fingerprint = PROBLEMS[name].fingerprint
    asked = options(name, tmp_path)
    first = fingerprint(asked)
    assert len(first) == 64
    for key in (*SIZES, "data_seed"):
        assert fingerprint(dataclasses.replace(asked, **{key: getattr(asked, key) - 1 if key in SIZES else 1})) != first
    (tmp_path / "moved").mkdir()
    (tmp_path / "data").rename(tmp_path / "moved" / "data")
    moved = options(name, tmp_path / "moved", cache=str(tmp_path / "moved" / "cache"))
    assert fingerprint(moved) == first
    write_idx(tmp_path / "moved/data/MNIST/raw", seed=7)
    write_idx(tmp_path / "moved/data/FashionMNIST/raw", seed=8, packed=True)
    assert fingerprint(moved) != first


def test_the_fingerprints_of_all_problems_differ_and_a_form_of_the_files_does_not_count(tmp_path: Path) -> None:
    found = {name: PROBLEMS[name].fingerprint(options(name, tmp_path)) for name in NAMES}
    assert len(set(found.values())) == len(NAMES)
    write_cifar_python(tmp_path / "python/data", seed=3)
    write_idx(tmp_path / "python/data", seed=1, packed=True)
    assert PROBLEMS["cifar10mnist"].fingerprint(options("cifar10mnist", tmp_path / "python")) == found["cifar10mnist"]


def test_a_fingerprint_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import json, sys; from trainer.catalog import PROBLEMS as p\n"
        "for name, kept in json.loads(sys.argv[1]).items(): p[name].fingerprint(p[name].options(**kept))\n"
        "print('torch' in sys.modules)"
    )
    asked = {name: dataclasses.asdict(options(name, tmp_path)) for name in NAMES}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": 50}, r"n_train \+ n_validation <= 60 expected, the training images of MNIST in .*, found 62"),
        ({"n_test": 21}, r"n_test <= 20 expected, the test images of MNIST in .*, found 21"),
    ],
)
def test_more_pairs_than_images_is_an_error_of_planning(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    asked = options("multimnist", tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        PROBLEMS["multimnist"].fingerprint(asked)
    with pytest.raises(DataError, match=message):
        PROBLEMS["multimnist"].build(asked)


def test_one_folder_cannot_be_both_fashion_and_digits(tmp_path: Path) -> None:
    write_idx(tmp_path / "flat/data")
    with pytest.raises(DataError, match=r"flat.data: one data set, found for FashionMNIST and for MNIST"):
        PROBLEMS["multifashion_mnist"].fingerprint(options("multifashion_mnist", tmp_path / "flat"))


def built_file(root: Path) -> Path:
    (path,) = (root / "cache").glob("*.safetensors")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_the_built_file_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    first = build(name, tmp_path)
    assert built_file(tmp_path).name.startswith(f"{name}-")
    monkeypatch.setattr("trainer.problems.images.sources.Original.read", lambda *_: pytest.fail("read the original files again"))
    assert is_equal(first, build(name, tmp_path))


def test_the_default_cache_is_the_users(tmp_path: Path) -> None:
    build("multimnist", tmp_path, cache=None)
    assert list((tmp_path / "home-cache" / "pareto-sweep").glob("multimnist-*.safetensors"))


@pytest.mark.parametrize("damage", [lambda c: c[:-3], lambda c: c[:-40] + b"?" + c[-39:], lambda c: b"", lambda c: b"x" * 64])
def test_a_damaged_built_file_is_built_again(tmp_path: Path, damage: Any) -> None:
    first = build("multimnist", tmp_path)
    path = built_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert is_equal(first, build("multimnist", tmp_path))
    assert path.read_bytes() == whole
    assert [kept.name for kept in (tmp_path / "cache").iterdir() if kept.name.startswith(".")] == []


def test_two_builders_at_once_do_no_harm(tmp_path: Path) -> None:
    built: list[Problem] = []
    threads = [threading.Thread(target=lambda: built.append(build("multimnist", tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 4
    assert all(is_equal(built[0], other) for other in built[1:])
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    first = build("multimnist", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"cannot be written.*set the problem's `cache`"):
        second = build("multimnist", tmp_path, cache=str(tmp_path / "file"))
    assert is_equal(first, second)
