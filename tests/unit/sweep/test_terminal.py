"""What a terminal would obey is shown as an escape, and what a stream cannot encode is written in other letters."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from sweep.monitor.progress import PlainLines
from sweep.terminal import echo, fitted, plain

REPOSITORY = Path(sweep.__file__).parents[1]


def test_ordinary_text_stays() -> None:
    for text in ("", "a\n\tb", "96.2 ± 1.5 %", "é 𝕏 ½", "a\u00a0b"):
        assert plain(text) == text


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\r", "\x08", "\x7f", "\x9b", "\u202e", "\u200b", "\u2028", "\ud800", "\U000e0001"])
def test_control_characters_are_shown(letter: str) -> None:
    shown = plain(f"a{letter}b")
    assert shown.isprintable()
    assert shown.isascii()
    assert json.loads(f'"{shown}"') == f"a{letter}b", "JSON stays JSON"


def test_messages_of_a_run_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    PlainLines().message("pack failed: \x1b[2Jgone")
    assert capsys.readouterr().err == "pack failed: \\u001b[2Jgone\n"


def stream(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "96.2 ± 1.5 %, 2 × 3 ≤ 7 – 1 — 0 …", "96.2 +- 1.5 %, 2 x 3 <= 7 - 1 - 0 ..."),
        ("latin-1", "96.2 ± 1.5 %, 2 × 3 ≤ 7 – 1 — 0 …", "96.2 ± 1.5 %, 2 × 3 <= 7 - 1 - 0 ..."),
        ("cp1252", "96.2 ± 1.5 %, 2 × 3 ≤ 7 – 1 — 0 …", "96.2 ± 1.5 %, 2 × 3 <= 7 – 1 — 0 …"),
        ("utf-8", "96.2 ± 1.5 %, 2 × 3 ≤ 7 – 1 — 0 …", "96.2 ± 1.5 %, 2 × 3 ≤ 7 – 1 — 0 …"),
        ("latin-1", "résultats/结果", "résultats/\\u7ed3\\u679c"),
        ("ascii", "résultats/𝕏", "r\\u00e9sultats/\\ud835\\udd4f"),
        ("gbk", "résultats/结果", "résultats/结果"),
        ("utf-8", "results-\udcff", "results-\\udcff"),  # a name with a byte that is no UTF-8
        ("utf-16", "96.2 ± 1", "96.2 ± 1"),
    ],
)
def test_text_falls_back_to_what_a_stream_can_show(encoding: str, text: str, shown: str) -> None:
    for errors in ("strict", "surrogateescape"):
        to = stream(encoding, errors)
        assert fitted(text, to) == shown
        to.write(fitted(text, to))
        to.flush()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_letter_of_a_name_becomes_another_one_where_programs_read(encoding: str) -> None:
    name = "é—±×≤…结𝕏\udcff\u00a0"
    shown = fitted(json.dumps({"name": name}, ensure_ascii=False), stream(encoding), is_data=True)
    shown.encode(encoding)
    assert json.loads(shown) == {"name": name}


@pytest.mark.parametrize(("errors", "shown"), [("replace", "a ? b"), ("ignore", "a  b"), ("backslashreplace", "a \\u2014 b")])
def test_an_error_handler_that_the_user_chose_is_respected(errors: str, shown: str) -> None:
    for encoding in ("ascii", "latin-1"):
        assert fitted("a — b", stream(encoding, errors)) == shown


def test_a_stream_without_an_encoding_takes_everything() -> None:
    assert fitted("a — 结", io.StringIO()) == "a — 结"
    assert fitted("a — 结", None) == "a — 结"


def test_standard_error_has_look_alikes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream("latin-1", "backslashreplace"))  # as Python makes it
    assert fitted("a — b", sys.stderr) == "a - b"


def printed(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PYTHONIOENCODING": "latin-1"}, "± - \\u7ed3\n".encode("latin-1")),
        ({"PYTHONIOENCODING": "ascii"}, b"+- - \\u7ed3\n"),
        ({"PYTHONIOENCODING": "ascii:replace"}, b"? ? ?\n"),
        ({"LC_ALL": "C"}, "± — 结\n".encode()),  # Python takes UTF-8 there
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"+- - \\u7ed3\n"),
    ],
)
def test_a_real_stream_gets_what_it_can_encode(environment: dict[str, str], expected: bytes) -> None:
    text = ascii("± — 结")
    ended = printed(f"from sweep.terminal import echo; echo({text}); echo({text}, err=True)", **environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == expected
    assert b"Traceback" not in ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="not run: needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_message() -> None:
    code = "from sweep.cli.errors import reports_errors; from sweep.terminal import echo; reports_errors(lambda: echo('a'))()"
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, env={"PYTHONPATH": str(REPOSITORY)}, check=False, timeout=120
        )
    assert ended.returncode == 2
    message = b"Error: standard output: cannot be written: No space left on device\n  hint: free some space, or send the output elsewhere\n"
    assert ended.stderr == message


@pytest.mark.full
def test_a_reader_that_is_gone_ends_it_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    code = "from sweep.cli.commands import main; import sys; sys.argv = ['sweep', 'schema']; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, env={"PYTHONPATH": str(REPOSITORY)}, check=False, timeout=120
    )
    os.close(write)
    assert ended.returncode == 1
    assert ended.stderr == b""


def test_a_closed_standard_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    echo("a — b")
