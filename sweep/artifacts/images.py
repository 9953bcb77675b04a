"""Images of a problem's samples, for `sweep data show` and for figures."""

import os
from collections.abc import Sequence
from dataclasses import MISSING, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from analysis.results.files import write_whole
from sweep.errors import SweepError
from sweep.grid.problems import file_name
from sweep.grid.source.mistakes import did_you_mean
from sweep.terminal import one_line
from trainer.catalog import PROBLEMS, Entry, find_problem
from trainer.problems.custom.factory import is_own
from trainer.problems.custom.source import ProblemError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from analysis.figures.samples import Samples
    from trainer.api import Problem, Task


N_IMAGES = 10
# Sizes for problems of the catalog: large enough for pairs of different images, quick to build, and satisfied by smaller data files
# than the defaults require.
_SIZES = {"n_train": 50, "n_validation": 1, "n_test": 1}
_IMAGE_SIZE, _MARGIN, _FONT_SIZE, _LINE = 112, 8, 14, 20  # pixels


def show_data(name: str, out: Path | None = None, root: str | None = None) -> Path:
    """Write a picture of a problem's first training samples to a PNG file.

    Args:
        name: name of the problem: one of the catalog, or `my_module:factory`.
        out: the PNG file, which is replaced; None uses the problem's name with `.png` in the working directory.
        root: folder of the original data files, for problems that read files; None uses the problem's default.

    Returns:
        The path of the written file.

    Raises:
        SweepError: the problem is unknown, has no images or takes no `root`, or a custom problem raised an exception.
        WriteError: the file cannot be written.
        DataError: data is missing or damaged.
        ProblemError: a custom problem cannot be imported.
    """
    try:
        entry = find_problem(name, [os.getcwd()])
    except KeyError:
        near = did_you_mean(name, list(PROBLEMS))
        hint = f"did you mean `{near}`?" if near else f"there are {', '.join(PROBLEMS)}"
        raise SweepError(f"no problem is called {name}\n  hint: {hint}") from None
    problem = _built(entry, _options(entry, root))
    if problem.pictures is None:
        raise SweepError(f"problem {name} has no images to show\n  hint: multidigits, for example, has some")
    inputs, targets = problem.train.first(N_IMAGES)
    sheet = _sheet(problem.pictures(inputs), labels_of(problem.tasks, targets), [task.name for task in problem.tasks])
    path = out or Path(f"{file_name(name)}.png")
    picture = BytesIO()
    sheet.save(picture, format="PNG")
    write_whole(path, picture.getvalue())
    return path


def _built(entry: Entry, options: Any) -> "Problem":
    try:
        problem: Problem = entry.build(options)
    except Exception as error:
        if entry.name in PROBLEMS or isinstance(error, ProblemError):
            raise
        raise SweepError(f"{entry.name} raised {type(error).__name__}: {error}") from error
    return problem


def _options(entry: Entry, root: str | None) -> Any:
    """Return the problem's default options with the given folder and, for problems of the catalog, small sizes."""
    found = {item.name: item for item in fields(entry.options)}
    missing = [key for key, item in found.items() if item.default is MISSING and item.default_factory is MISSING and key != "root"]
    if missing:
        raise SweepError(f"problem {entry.name} needs the options {', '.join(missing)}, which this command cannot give")
    if root is not None and "root" not in found:
        raise SweepError(f"problem {entry.name} reads no files from a root\n  hint: leave --root out")
    sizes = {key: value for key, value in _SIZES.items() if key in found} if entry.name in PROBLEMS else {}
    return entry.options(**sizes, **({} if root is None else {"root": root}))


def labels_of(tasks: "Sequence[Task]", targets: "Tensor") -> list[list[str]]:
    """Return the labels of all samples for each task, as text.

    Args:
        tasks: the tasks of the problem.
        targets: shape (n_samples, n_tasks).

    Returns:
        One list per task with one label per sample: the name of the class if the task has names, otherwise the number.
    """
    columns = zip(tasks, targets.T.tolist(), strict=True)
    return [[task.classes[int(value)] if task.classes else f"{value:g}" for value in column] for task, column in columns]


def _sheet(pictures: "Tensor", labels: Sequence[Sequence[str]], tasks: Sequence[str]) -> "Image":
    """Draw images side by side, with a line of labels for each task below them and the names of the tasks on the left.

    Args:
        pictures: shape (n, channels, height, width), values in [0, 1], with one or three channels.
        labels: for each task, one label per image.
        tasks: the names of the tasks.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_FONT_SIZE)
    pixels = (pictures.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    images = [Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0]) for image in pixels]
    widths = [_IMAGE_SIZE, *(int(font.getlength(text)) + 1 for line in labels for text in line)]
    step, left = max(widths) + _MARGIN, max(int(font.getlength(task)) + 1 for task in tasks) + 2 * _MARGIN
    top = 2 * _MARGIN + _IMAGE_SIZE
    sheet = Image.new("RGB", (left + step * len(images), top + _LINE * len(tasks) + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for t, task in enumerate(tasks):
        draw.text((_MARGIN, top + t * _LINE), task, "gray", font)
    for i, image in enumerate(images):
        x = left + i * step
        sheet.paste(image.resize((_IMAGE_SIZE, _IMAGE_SIZE), Image.Resampling.NEAREST), (x + (step - _MARGIN - _IMAGE_SIZE) // 2, _MARGIN))
        for t, line in enumerate(labels):
            draw.text((x + (step - _MARGIN - font.getlength(line[i])) / 2, top + t * _LINE), line[i], "black", font)
    return sheet


def samples_of(manifest: dict[str, Any], where: str | Path = "manifest.json", *, is_trusted: bool = False) -> "Samples":
    """Return the first training samples of a sweep's problem, built with the options of the sweep.

    Args:
        manifest: the manifest of the results folder. A custom problem is imported from the working directory.
        where: the file from which the manifest was read, for error messages.
        is_trusted: whether the user allows this folder to name a module to import and a folder to download data into.

    Raises:
        SweepError: the folder names something that needs trust, the problem is unknown or has no images, or a custom problem raised
            an exception.
        DataError: data is missing or damaged.
        ProblemError: a custom problem cannot be imported.
    """
    import numpy as np

    from analysis.figures.samples import Samples

    if not is_trusted:
        _refuse_untrusted(manifest["problem"], where)
    problem = _problem_of(manifest["problem"])
    name = manifest["problem"]["name"]
    if problem.pictures is None:
        raise SweepError(f"problem {name} has no images to show\n  hint: multidigits, for example, has some")
    inputs, targets = problem.train.first(N_IMAGES)
    pixels = (problem.pictures(inputs).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    texts = labels_of(problem.tasks, targets)
    return Samples(
        np.broadcast_to(pixels, (*pixels.shape[:3], 3)), {task.name: line for task, line in zip(problem.tasks, texts, strict=True)}
    )


def _refuse_untrusted(asked: dict[str, Any], where: str | Path) -> None:
    """Refuse a results folder that names a module to import, or a missing folder into which data would be downloaded."""
    name, root = asked["name"], (asked.get("options") or {}).get("root")
    if is_own(name):
        what, instead = f"problem {one_line(name)} is a Python module, which a results folder may not name by itself", name
    elif isinstance(root, str) and not os.path.isdir(os.path.expanduser(root)):
        what, instead = f"the data's folder {one_line(root)} is not there", f"{name} --root DIR"
    else:
        return
    hint = f"`sweep data show {one_line(instead)}` shows samples of what you name; or `--trust`, if nobody else could write to this folder"
    raise SweepError(f"{where}: {what}\n  hint: {hint}")


def _problem_of(asked: dict[str, Any]) -> "Problem":
    name = asked["name"]
    try:
        entry = find_problem(name, [os.getcwd()])
    except KeyError:
        raise SweepError(f"no problem is called {name}\n  hint: install the version that wrote the results") from None
    try:
        # Pydantic turns JSON lists into the tuples that the options have.
        options = TypeAdapter(entry.options).validate_python(dict(asked.get("options") or {}))
    except (ValidationError, TypeError, ValueError, OverflowError):
        raise SweepError(
            f"the options in the results are not options of problem {name}\n  hint: restore manifest.json from a copy"
        ) from None
    try:
        problem: Problem = entry.build(options)
    except Exception as error:
        if entry.name in PROBLEMS or isinstance(error, ProblemError):
            raise
        raise SweepError(f"{entry.name} raised {type(error).__name__}: {error}") from error
    return problem
