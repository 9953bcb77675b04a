"""What can be asked for by name: problems, models, methods. Known without importing torch.

Planning a sweep of thousands of trials, completing a grid file in an editor and `sweep --help` all need the names and
the tasks, none of them needs a tensor; so an entry holds strings that are imported when a worker needs them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from trainer.problems.multidigits import MultiDigitsOptions

METHODS = ("wcal_growl",)
MODELS = {
    "mdmtn": "trainer.models.mdmtn:MDMTN",
    "hps": "trainer.models.hps:HPS",
}


@dataclass(frozen=True)
class ProblemEntry:
    """A problem's public facts."""

    name: str
    tasks: tuple[str, ...]
    metrics: Mapping[str, str]
    """Name of each task's metric; `accuracy` for classification."""
    guess_losses: tuple[float, ...]
    """Loss of a constant guess for each task (cross-entropy: ln of the number of classes), in the loss's unit."""
    loss_unit: str
    models: tuple[str, ...]
    options: type[Any]
    """Frozen dataclass of the problem's options, each with a default."""
    build_path: str = field(repr=False)
    fingerprint_path: str = field(repr=False)

    def build(self, options: Any) -> Any:
        """The `trainer.problem.Problem` itself (imports torch, loads or makes the data)."""
        return resolve(self.build_path)(options)

    def fingerprint(self, options: Any) -> str:
        """SHA-256 over the data's source files and the options; reads no more than it must and imports no torch."""
        digest: str = resolve(self.fingerprint_path)(options)
        return digest


def resolve(path: str) -> Callable[..., Any]:
    """Import `package.module:name`."""
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


PROBLEMS: dict[str, ProblemEntry] = {
    "multidigits": ProblemEntry(
        name="multidigits",
        tasks=("left", "right"),
        metrics={"left": "accuracy", "right": "accuracy"},
        guess_losses=(2.302585092994046, 2.302585092994046),
        loss_unit="nats",
        models=("mdmtn", "hps"),
        options=MultiDigitsOptions,
        build_path="trainer.problems.multidigits:build",
        fingerprint_path="trainer.problems.multidigits:fingerprint",
    ),
}
