"""`sweep data show`: the pixels of the training images, the labels of their tasks, and clear words where there are none."""

from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image, ImageDraw

from trainer.catalog import PROBLEMS
from trainer.problems.problem import Problem

pytestmark = pytest.mark.usefixtures("in_tmp_path")
SIDE, N_IMAGES = 112, 10


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that are drawn."""
    words: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def record(self: Any, place: Any, text: str, *more: Any) -> None:
        words.append(text)
        draw(self, place, text, *more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return words


def call(*arguments: object) -> Result:
    return commands.call("data", "show", *arguments)


def draws_nothing(result: Result, *parts: str) -> None:
    """The command is refused, and no image is written."""
    commands.is_refused(result, *parts)
    assert list(Path().glob("*.png")) == []


def shown(path: Path, size: int) -> list[np.ndarray]:
    """The ten images of a sheet, reduced to `size` pixels a side; they are the only rows of pixels that are not white or text."""
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    band = pixels[8 : 8 + SIDE]
    columns = np.flatnonzero((band != 255).any(axis=(0, 2)))
    starts = [column for column in columns if column - 1 not in columns]
    assert len(starts) == N_IMAGES
    centres = (np.arange(size) * SIDE + SIDE // 2) // size
    return [band[centres][:, start + centres] for start in starts]


def built(name: str, **options: Any) -> Problem:
    problem: Problem = PROBLEMS[name].build(PROBLEMS[name].options(n_train=50, n_validation=1, n_test=1, **options))
    return problem


def test_multidigits(written: list[str]) -> None:
    result = call("multidigits")
    assert result.exit_code == 0
    assert result.stdout == "multidigits.png\n"
    problem = built("multidigits")
    expected = (problem.train.inputs[:N_IMAGES, 0] * 255).round().byte().numpy()
    for found, image in zip(shown(Path("multidigits.png"), 12), expected, strict=True):
        assert (found == image[:, :, None]).all()
    labels = [str(label) for pair in problem.train.targets[:N_IMAGES].tolist() for label in pair]
    assert written == ["left", "right", *labels]


@pytest.mark.parametrize(
    ("name", "tasks", "classes"),
    [
        ("multimnist", ["left", "right"], ("0123456789", "0123456789")),
        ("multifashion_mnist", ["left", "right"], ("fashion", "0123456789")),
        ("cifar10mnist", ["cifar", "mnist"], ("cifar", "0123456789")),
    ],
)
def test_problems_with_files(original_data: Path, written: list[str], name: str, tasks: list[str], classes: Any) -> None:
    assert call(name, "--root", original_data, "--out", "there.png").exit_code == 0
    problem = built(name, root=str(original_data))
    names = {
        "fashion": ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"],
        "cifar": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    }
    labels = [
        names.get(kind, list(kind))[label]
        for pair in problem.train.targets[:N_IMAGES].tolist()
        for kind, label in zip(classes, pair, strict=True)
    ]
    assert written == [*tasks, *labels]
    mean, deviation = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)) if name == "cifar10mnist" else ((0.1307,), (0.3081,))
    pixels = problem.train.inputs[:N_IMAGES].permute(0, 2, 3, 1) * torch.tensor(deviation) + torch.tensor(mean)
    expected = (pixels * 255).round().numpy()
    for found, image in zip(shown(Path("there.png"), expected.shape[1]), expected, strict=True):
        assert np.array_equal(found, np.broadcast_to(image, found.shape))


def test_an_own_problem(tmp_path: Path, written: list[str]) -> None:
    (tmp_path / "my_pictures.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from trainer.api import Problem, Split, regression\n"
        "def make(n: int = 12):\n"
        "    parts = [Split(torch.rand(n, 3, 8, 8), torch.full((n, 1), 0.5)) for _ in range(3)]\n"
        "    net = {'net': lambda: nn.Linear(1, 1)}\n"
        "    return Problem('own', (regression('height', 1.0),), net, *parts, pictures=lambda inputs: inputs)\n"
    )
    assert call("my_pictures:make").exit_code == 0
    assert len(shown(tmp_path / "my_pictures-make.png", 8)) == N_IMAGES
    assert written == ["height", *["0.5"] * N_IMAGES]


def test_an_own_problem_that_does_not_work(tmp_path: Path) -> None:
    (tmp_path / "my_faults.py").write_text("def needs(n: int): ...\ndef raises():\n    raise OSError('no such table')\n")
    draws_nothing(call("my_faults:needs"), "problem my_faults:needs needs the options n, which this command cannot give")
    draws_nothing(call("my_faults:raises"), "my_faults:raises raised OSError: no such table")
    draws_nothing(call("my_faults:nothing"), "my_faults.py has no function `nothing`")
    draws_nothing(call("no_such_module:x"), "no_such_module")


def test_a_problem_without_images() -> None:
    draws_nothing(call("analytic/zdt1"), "problem analytic/zdt1 has no images to show", "hint: ")


def test_a_name_that_is_none() -> None:
    draws_nothing(call("multidigit"), "no problem is called multidigit", "did you mean `multidigits`?")
    draws_nothing(call("xyz"), "no problem is called xyz", "there are multidigits, ")


def test_a_root_where_none_is_read(tmp_path: Path) -> None:
    draws_nothing(call("multidigits", "--root", tmp_path), "problem multidigits reads no files", "leave --root out")


def test_damaged_data(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "train-images-idx3-ubyte").write_bytes(b"")
    draws_nothing(call("multimnist", "--root", tmp_path), "4 files expected", "hint: ")


def test_a_file_that_cannot_be_written() -> None:
    draws_nothing(call("multidigits", "--out", "no/such/x.png"), "no/such/x.png: cannot write: its folder is missing", "hint: ")
