"""Images of the problem that a results folder is of, for its figure: drawn from the problem, since the folder holds none."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from sweep.outcome import SweepError
from sweep.show_data import N_IMAGES, labels_of
from sweep.terminal import one_line
from trainer.catalog import PROBLEMS, find_problem
from trainer.own_problem import is_own
from trainer.own_source import ProblemError

if TYPE_CHECKING:
    from analysis.samples_figure import Samples
    from trainer.api import Problem


def samples_of(manifest: dict[str, Any], where: str | Path = "manifest.json", *, is_trusted: bool = False) -> "Samples":
    """The first training samples of a sweep's problem, with the options of the sweep.

    Args:
        manifest: of the results folder. A problem of one's own is imported from the working directory.
        where: the file that it comes from.
        is_trusted: the user said that this folder may name a module to import and a folder to put data into.

    Raises:
        SweepError: what the folder names needs trust; no such problem here, one without images, or an own problem raised something.
        DataError: data that is missing or damaged.
        ProblemError: an own problem that cannot be imported.
    """
    import numpy as np

    from analysis.samples_figure import Samples

    if not is_trusted:
        _refuse_untrusted(manifest["problem"], where)
    problem = _built(manifest["problem"])
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
    """A results folder alone names neither a module that is imported nor a folder that missing data is downloaded into."""
    name, root = asked["name"], (asked.get("options") or {}).get("root")
    if is_own(name):
        what, instead = f"problem {one_line(name)} is a Python module, which a results folder may not name by itself", name
    elif isinstance(root, str) and not os.path.isdir(os.path.expanduser(root)):
        what, instead = f"the data's folder {one_line(root)} is not there", f"{name} --root DIR"
    else:
        return
    hint = f"`sweep data show {one_line(instead)}` shows samples of what you name; or `--trust`, if nobody else could write to this folder"
    raise SweepError(f"{where}: {what}\n  hint: {hint}")


def _built(asked: dict[str, Any]) -> "Problem":
    name = asked["name"]
    try:
        entry = find_problem(name, [os.getcwd()])
    except KeyError:
        raise SweepError(f"no problem is called {name}\n  hint: install the version that wrote the results") from None
    try:
        # Through pydantic, since the lists of JSON are tuples in the options.
        problem: Problem = entry.build(TypeAdapter(entry.options).validate_python(dict(asked.get("options") or {})))
    except Exception as error:
        if entry.name in PROBLEMS or isinstance(error, ProblemError):
            raise
        raise SweepError(f"{entry.name} raised {type(error).__name__}: {error}") from error
    return problem
