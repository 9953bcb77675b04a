"""Small originals of the paper's data sets, for tests in any folder. (This file also puts `original_files` on Python's path.)"""

from pathlib import Path

import pytest
from original_files import write_cifar_binary, write_idx


@pytest.fixture(scope="session")
def original_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 60 training and 20 test images of MNIST and Fashion-MNIST, and 60 and 12 of CIFAR-10; noise, not pictures."""
    root = tmp_path_factory.mktemp("originals")
    write_idx(root / "MNIST/raw", seed=1)
    write_idx(root / "FashionMNIST/raw", seed=2, packed=True)
    write_cifar_binary(root, seed=3)
    return root


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that start a Ray run one after the other, in whatever way the others are spread (`pytest -n 2 --dist loadgroup`)."""
    if item.get_closest_marker("ray"):
        item.add_marker(pytest.mark.xdist_group("ray"))
