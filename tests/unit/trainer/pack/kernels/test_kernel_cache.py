"""The built kernel is loaded from a folder that nobody else can write to."""

from pathlib import Path

import pytest

from trainer.pack.kernels import library


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pareto-sweep"
    folder.mkdir(mode=0o700)
    return folder


def test_a_folder_of_ones_own_will_do(folder: Path) -> None:
    assert library._is_ours(folder)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_one_that_others_may_write_to_will_not(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert not library._is_ours(folder)


def test_a_link_will_not(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert not library._is_ours(link)
