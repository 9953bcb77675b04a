"""`sweep figure`: every name, its formats, and what is said where something is missing."""

import json
import sys
from pathlib import Path

import commands
import pytest
from click.testing import Result
from commands import is_refused

from analysis.figures.catalog import FIGURES

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "analysis"))
from network_stores import write_network_store
from synthetic_store import TWO_TASKS, write_manifest

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def call(*arguments: object) -> Result:
    return commands.call("figure", *arguments)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_network_store(tmp_path / "results")
    return tmp_path / "results"


def test_the_list_names_every_figure_without_a_folder() -> None:
    result = call("--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(FIGURES)


def test_attainment_surfaces_need_seeds(results: Path) -> None:
    result = call(results, "attainment")
    assert result.exit_code == 2
    assert "needs a study with at least two seeds" in result.stderr


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("second-study", "similarity", "attainment")])
def test_a_page_is_written_into_the_working_directory(results: Path, name: str) -> None:
    result = call(results, name)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{name}.html\n"
    assert Path(f"{name}.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_similarity_of_a_trial_and_a_file_of_ones_own(results: Path) -> None:
    result = call(results, "similarity", "--trial", "0001", "--out", "deep.html")
    assert (result.exit_code, result.stdout) == (0, "deep.html\n")
    assert "Monitor (right) | Linear | 2" in Path("deep.html").read_text(encoding="utf-8")


def test_the_samples_are_those_of_the_sweeps_problem(results: Path) -> None:
    """The same pixels and labels as the training data that the manifest's options make."""
    from analysis.figures.samples import Samples
    from sweep.artifacts.images import samples_of
    from trainer.catalog import PROBLEMS

    manifest = json.loads((results / "manifest.json").read_text(encoding="utf-8"))
    found = samples_of(manifest)
    assert isinstance(found, Samples)
    entry = PROBLEMS["multidigits"]
    inputs, targets = entry.build(entry.options(n_train=1000)).train.first(10)
    assert found.pictures.shape == (10, 12, 12, 3)
    assert (found.pictures[..., 2] == (inputs[:, 0] * 255).round().byte().numpy()).all()
    assert list(found.labels["right"]) == [str(int(value)) for value in targets[:, 1]]


@pytest.mark.parametrize(
    ("problem", "parts"),
    [
        ({"name": "multidigit"}, ("no problem is called multidigit", "hint: ")),
        ({"name": "analytic/zdt1"}, ("problem analytic/zdt1 has no images to show",)),
        ({"name": "multimnist", "options": {"root": "nowhere"}}, ("nowhere",)),
        ({"name": "no_such_module:factory"}, ("no_such_module", "--trust")),
        ({"name": "multidigits", "options": {"tasks": {"a": {"a": 1}}}}, ("are not options of problem multidigits",)),
        ({"name": "multidigits", "options": {"n_train": 10**400, "no": "such"}}, ("are not options of problem multidigits",)),
    ],
)
def test_samples_that_cannot_be_had_are_said_clearly(tmp_path: Path, problem: dict[str, object], parts: tuple[str, ...]) -> None:
    write_manifest(tmp_path / "other", TWO_TASKS, problem=problem)
    is_refused(call(tmp_path / "other", "samples"), "Error: ", *parts)


def test_a_module_that_a_folder_names_is_imported_only_when_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "other"
    write_manifest(folder, TWO_TASKS, problem={"name": "named_by_a_folder:factory", "options": {}})
    (folder / "named_by_a_folder.py").write_text("open('imported', 'w').close()\ndef factory():\n    raise ValueError('mine')\n")
    monkeypatch.chdir(folder)
    is_refused(call(folder, "samples"), "may not name by itself", "--trust")
    assert not (folder / "imported").exists()
    is_refused(call(folder, "samples", "--trust"), "raised ValueError: mine")
    assert (folder / "imported").exists()


def test_mistakes_are_one_message(results: Path, tmp_path: Path) -> None:
    is_refused(call(results, "front-4d"), "'front-4d' is not one of")
    is_refused(call(tmp_path / "nowhere", "front"), "no such folder")
    is_refused(call(results, "second-study"), "cannot be drawn", "hint: `sweep figure --list`")
    is_refused(call(results, "similarity", "--trial", "ffff"), "no trial is called ffff", "hint: ")
    is_refused(call(results, "front-2d", "--trial", "0001"), "shows the whole sweep")
    is_refused(call(results, "front-2d", "--out", tmp_path / "no" / "a.html"), "hint: ")
    assert not list(tmp_path.glob("*.html"))


def test_a_file_name_says_the_format_unless_it_is_given(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("analysis.figures.export.image_of", lambda figure, form: written.append(form) or form.encode())
    for arguments in (["--out", "a.svg"], ["--out", "a.png", "--format", "pdf"], ["--format", "png"]):
        assert call(results, "front-2d", *arguments).exit_code == 0
    assert written == ["svg", "pdf", "png"]
    assert Path("front-2d.png").read_bytes() == b"png"


def test_an_image_without_the_extra_is_refused(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.figures.export.find_spec", lambda name: None)
    is_refused(call(results, "front-2d", "--format", "png"), "Error: png images need the extra `images`", "or take --format html")
    assert not Path("front-2d.png").exists()
