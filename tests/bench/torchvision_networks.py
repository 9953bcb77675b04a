"""How much does compression remove from torchvision's networks, and how far do the outputs of the compressed network differ?

    python -m tests.bench.torchvision_networks [NETWORK ...]

Weights and the 3x64x64 inputs are random numbers. In every layer but the first, half of the input channels (or features) are
masked, which means that their weights are zero.
"""

import argparse

import torch
from torch import Tensor, nn

from trainer.compression.compress import NotTraceableError, compress, largest_difference, macs_of
from trainer.problems.images.downloads import import_torchvision

NETWORKS = (
    *("resnet18", "vgg11_bn", "densenet121", "googlenet", "squeezenet1_1", "alexnet", "shufflenet_v2_x0_5", "regnet_y_400mf"),
    *("mnasnet0_5", "mobilenet_v3_small", "efficientnet_b0"),
)
INPUT_SHAPE = (3, 64, 64)


class OneTask(nn.Module):
    """A torchvision network as a network of one task."""

    def __init__(self, name: str) -> None:
        super().__init__()
        options = {"init_weights": False} if name == "googlenet" else {}
        self.network = getattr(import_torchvision().models, name)(weights=None, **options)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.network(images)]


def made(name: str, share: float = 0.5) -> nn.Module:
    """Make a network with random batch statistics in which a share of the rows of each layer but the first is masked."""
    torch.manual_seed(0)
    network = OneTask(name).eval()
    layers: list[nn.Module] = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
        for buffer_name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if "var" in buffer_name else buffer.normal_(std=0.1)
    mask_rows(layers[1:], share)
    return network


@torch.no_grad()
def mask_rows(layers: list[nn.Module], share: float) -> None:
    """Set a random share of the rows (input channels or features) of each layer to zero; a depthwise convolution keeps its one row."""
    for layer in layers:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        n_rows = weight.shape[1]
        if n_rows > 1:
            weight[:, torch.randperm(n_rows)[: round(share * n_rows)]] = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    print("| network | parameters | left | multiply-adds | left | largest difference |\n|---|---|---|---|---|---|")
    for name in parser.parse_args().networks:
        network = made(name)
        inputs = torch.randn(8, *INPUT_SHAPE)
        try:
            small = compress(network, inputs[:2])
        except NotTraceableError as error:
            print(f"| {name} | {error} |", flush=True)
            continue
        difference = largest_difference(network, small.network, [inputs])
        n_params, macs = sum(parameter.numel() for parameter in network.parameters()), macs_of(network, INPUT_SHAPE)
        print(
            f"| {name} | {n_params:,d} | {100 * small.n_params / n_params:.0f} % | {macs:,d} | {100 * small.macs / macs:.0f} % | "
            f"{difference:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
