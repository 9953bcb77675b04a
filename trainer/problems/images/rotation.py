"""Random rotation of training images, for a whole minibatch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomRotation:
    """Rotates each image by its own angle, drawn uniformly from [-degrees, degrees].

    Source: torchvision's RandomRotation with its defaults (nearest pixel, size kept, around the centre).
    """

    degrees: float
    fill: tuple[float, ...]
    """The value of each channel outside the image, which is black in the unit of the inputs."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate images of shape (n, channels, height, width); `generator`, on the CPU, draws one number for each image."""
        share = torch.rand(len(images), generator=generator, dtype=torch.float64)
        return rotated(images, (2 * share - 1) * self.degrees, self.fill)


def rotated(images: Tensor, degrees: Tensor, fill: tuple[float, ...]) -> Tensor:
    """Rotate images counter-clockwise around their centre; each pixel takes the value of the nearest one.

    Args:
        images: shape (n, channels, height, width). Not modified.
        degrees: shape (n,), float64, on the CPU.
        fill: the value of each channel outside the image.

    Returns:
        Shape (n, channels, height, width), in channels-last order.
    """
    n_images, n_channels, height, width = images.shape
    angle = degrees.deg2rad()[:, None, None]
    cos, sin = (part.to(torch.float32).to(images.device) for part in (angle.cos(), angle.sin()))
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    # The source of a pixel is its position rotated backwards.
    column = (x * cos - y * sin + (width - 1) / 2).round().long()
    row = (x * sin + y * cos + (height - 1) / 2).round().long()
    is_outside = (column < 0) | (column >= width) | (row < 0) | (row >= height)
    source = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)[:, :, None]
    pixels = images.permute(0, 2, 3, 1).reshape(n_images, height * width, n_channels)
    moved = pixels.gather(1, source.expand(-1, -1, n_channels))
    moved = torch.where(is_outside.flatten(1)[:, :, None], torch.tensor(fill, dtype=images.dtype, device=images.device), moved)
    return moved.reshape(n_images, height, width, n_channels).permute(0, 3, 1, 2)
