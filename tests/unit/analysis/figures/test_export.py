"""A figure as a page that connects to nothing, and as an image."""

import importlib.util
import re
import shutil

import pytest
from plotly.offline import get_plotlyjs

from analysis import ResultsError, draw_figure, read_results, write_figure
from analysis.figures.export import FORMATS, IMAGES, page_of

CSP = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


@pytest.fixture
def table(store):
    return read_results(store(n_trials=24))


def test_a_page_is_one_file_with_the_reports_policy(table, tmp_path):
    path = write_figure(draw_figure(table, "front-2d"), tmp_path / "a.html", "html", "My <sweep>")
    page = path.read_text(encoding="utf-8")
    (policy,) = CSP.findall(page)
    assert policy.startswith("default-src 'none'; script-src 'unsafe-inline';")
    assert "connect-src 'none'" in policy
    assert "showSendToCloud: false" in page
    assert "<title>My &lt;sweep&gt;</title>" in page
    assert not re.search(r'(src|href)="(?!data:)', page.replace(get_plotlyjs(), ""))
    assert [found.name for found in tmp_path.iterdir() if found.is_file()] == ["a.html"]


def test_names_cannot_end_the_data_of_a_page(table):
    figure = draw_figure(table, "front-2d")
    figure.data[0].name = "</script><script>alert(1)</script>"
    figure.update_layout(meta={"caption": "<img src=x>"})
    page = page_of(figure, "t")
    assert "alert(1)</script>" not in page
    assert "&lt;img src=x&gt;" in page


def test_an_image_needs_the_extra_and_says_so(table, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.figures.export.find_spec", lambda name: None)
    for form in IMAGES:
        with pytest.raises(ResultsError, match=rf"{form} images need the extra `images`.*\n  hint: pip install 'pareto-sweep\[images\]'"):
            write_figure(draw_figure(table, "front-2d"), tmp_path / "a", form, "t")
    assert not (tmp_path / "a").exists()


def test_an_image_needs_a_browser_and_says_so(table, tmp_path, monkeypatch):
    if importlib.util.find_spec("kaleido") is None:
        pytest.skip("not run: needs the extra images (kaleido)")
    from choreographer.browsers.chromium import Chromium

    monkeypatch.setattr(Chromium, "find_browser", classmethod(lambda cls, **options: None))
    with pytest.raises(ResultsError, match=r"need a Chromium or Chrome, and none was found\n  hint: install one"):
        write_figure(draw_figure(table, "front-2d"), tmp_path / "a.png", "png", "t")


def test_a_format_that_does_not_exist_is_refused(table, tmp_path):
    with pytest.raises(ValueError, match=f"expects one of {', '.join(FORMATS)}, found form = gif"):
        write_figure(draw_figure(table, "front-2d"), tmp_path / "a.gif", "gif", "t")


@pytest.mark.browser
@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")])
def test_an_image_is_drawn(table, tmp_path, form, start):
    if importlib.util.find_spec("kaleido") is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("not run: needs the extra images (kaleido) and a chromium")
    path = write_figure(draw_figure(table, "front-2d"), tmp_path / f"a.{form}", form, "t")
    assert path.read_bytes().startswith(start)
    if form == "svg":
        assert b"left: validation loss (nats)" in path.read_bytes()
    if form == "png":
        from PIL import Image

        image = Image.open(path)
        assert image.size == (1920, 1360)
        assert image.getpixel((1900, 20))[:3] == (255, 255, 255)
