"""The public door to `trainer.problems.images.downloads`: this import path is kept for code outside the project."""

from trainer.problems.images.downloads import import_torchvision

__all__ = [
    "import_torchvision",
]
