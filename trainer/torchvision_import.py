"""Re-exports `trainer.problems.images.downloads` under the import path that code outside the project uses."""

from trainer.problems.images.downloads import import_torchvision

__all__ = [
    "import_torchvision",
]
