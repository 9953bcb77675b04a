"""What importing the room does and does not do."""

import subprocess
import sys

import pytest


def test_importing_is_instant_and_brings_nothing_heavy():
    code = "import sys, analysis; print(sorted({'torch', 'ray', 'sweep', 'trainer', 'plotly', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.full
def test_writing_a_report_needs_no_other_room(tmp_path):
    code = """
import sys, analysis
for name in analysis.__all__:
    getattr(analysis, name)
print(sorted({'torch', 'ray', 'pydantic', 'click', 'sweep', 'trainer'} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
